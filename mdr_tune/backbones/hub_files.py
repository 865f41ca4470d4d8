"""Files of the Hugging Face Hub: find them in its cache folder, and download them there.

The cache folder is that of the package huggingface_hub, which timm uses too: `$HF_HUB_CACHE`, by default
`~/.cache/huggingface/hub`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from mdr_tune.util.download import digest_of
from mdr_tune.util.files import why_not_writable

_SCHEME = "hf://"


class HubError(Exception):
    """A file could not be downloaded. The text gives the reason."""


class HubFile(NamedTuple):
    """A file in a repository of the Hugging Face Hub.

    Attributes:
        repository: name of the repository, such as `timm/resnet50.a1_in1k`.
        revision: branch, tag or commit; None: the branch main.
        names: names of the file. The first one that exists is meant.
    """

    repository: str
    revision: str | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, url: str) -> "HubFile | None":
        """Return the file that `url` stands for; None if it is no URL of the form `hf://OWNER/NAME[@REVISION]/FILES`.

        FILES are one or several names with `|` between them.
        """
        if not url.startswith(_SCHEME):
            return None
        owner, name, files = url.removeprefix(_SCHEME).split("/", 2)
        name, _, revision = name.partition("@")
        return cls(f"{owner}/{name}", revision or None, tuple(files.split("|")))

    @property
    def address(self) -> str:
        """Address from which the file can be downloaded, under the first of its names."""
        from huggingface_hub import hf_hub_url

        address: str = hf_hub_url(self.repository, self.names[0], revision=self.revision)
        return address

    @property
    def place(self) -> Path:
        """Path at which a file that the user downloaded by hand is found, under the first of its names."""
        from huggingface_hub import constants

        folder = f"models--{self.repository.replace('/', '--')}"
        return Path(constants.HF_HUB_CACHE) / folder / "snapshots" / (self.revision or "main") / self.names[0]

    def find(self) -> Path | None:
        """Return the path of the file in the cache folder; None if it is not there. No network is used."""
        from huggingface_hub import try_to_load_from_cache

        for name in self.names:
            found = try_to_load_from_cache(self.repository, name, revision=self.revision)
            if isinstance(found, str):
                return Path(found)
        return self.place if self.place.is_file() else None

    def why_not_writable(self) -> str | None:
        """Return the reason why the cache folder cannot be written to; None if there is no reason."""
        from huggingface_hub import constants

        return why_not_writable(Path(constants.HF_HUB_CACHE))

    def why_damaged(self) -> str:
        """Return a text that says how the file in the cache folder is damaged; empty if it is not.

        huggingface_hub names a large file by its SHA-256, which is compared. A file that was put there by hand has no
        such name, and is not checked.
        """
        found = self.find()
        stored = "" if found is None else found.resolve().name
        if found is None or not re.fullmatch("[0-9a-f]{64}", stored):
            return ""
        actual = digest_of(found, "sha256")
        return "" if actual == stored else f"{found} is damaged: its SHA256 begins with {actual[:8]}, not {stored[:8]}"

    def fetch(self) -> Path:
        """Return the path of the file, which is downloaded if it is missing.

        If several processes need the file, one downloads it and the others wait: huggingface_hub locks it. Raise
        HubError if the file cannot be downloaded.
        """
        if found := self.find():
            return found
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        reason: Exception | None = None
        for name in self.names:
            try:
                # This asks once. The download asks again and again for half a minute, even if there is no network.
                get_hf_file_metadata(hf_hub_url(self.repository, name, revision=self.revision), library_name="timm")
                return Path(hf_hub_download(self.repository, name, revision=self.revision, library_name="timm"))
            except EntryNotFoundError as error:
                reason = error
            except Exception as error:  # the package has errors of several HTTP libraries, of the disk, and of its own
                raise HubError(_reason(error)) from None
        raise HubError(_reason(reason)) from None


def _reason(error: BaseException | None) -> str:
    """Return the first line of the innermost cause of `error`: the error of the connection, if there is one."""
    while error is not None and (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
