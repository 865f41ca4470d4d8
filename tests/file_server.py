"""A real HTTP server on 127.0.0.1 whose misbehaviour can be chosen."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class FileServer:
    """Files that are served, how, and what was asked for.

    Attributes:
        files: by name.
        ranges: whether it can go on from the middle of a file.
        cut_after: bytes after which each answer ends, as a broken connection does.
        failures: status codes to answer the next requests with, before it works.
        length_known: whether it says how long a file is.
        asked: the Range header of each request, or None.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut_after: int | None = None
    failures: list[int] = field(default_factory=list)
    length_known: bool = True
    asked: list[str | None] = field(default_factory=list)
    port: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/data/{name}"


@contextmanager
def serving() -> Iterator[FileServer]:
    """Serve until the block ends."""
    served = FileServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            served.asked.append(asked)
            name = self.path.rsplit("/", 1)[-1]
            if served.failures:
                self.send_error(served.failures.pop(0))
                return
            if name not in served.files:
                self.send_error(404)
                return
            data, start = served.files[name], 0
            if served.ranges and asked and (found := re.fullmatch(r"bytes=(\d+)-", asked)):
                start = int(found[1])
                if start >= len(data):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            body = data[start:]
            if served.length_known:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: served.cut_after])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        served.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            running.shutdown()
            thread.join()
