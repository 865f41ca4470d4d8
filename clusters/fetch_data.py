"""Copy a folder of S3 to this machine's disk, once: python fetch_data.py s3://BUCKET/datasets ~/datasets."""

import sys
from pathlib import Path

from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

STAMP = ".fetched_from"  # written last: a copy that was interrupted is made again


def fetch(source: str, folder: Path) -> None:
    """Copy all files below `source`, any address that Arrow knows, into `folder`; nothing if that was done before."""
    stamp = folder / STAMP
    if stamp.exists():
        before = stamp.read_text()
        if before != source:
            sys.exit(f"fetch_data.py: {folder} has what was fetched from {before}; give another folder, or remove it")
        print(f"fetch_data.py: {folder} is there already")
        return
    try:
        files, path = FileSystem.from_uri(source)
        folder.mkdir(parents=True, exist_ok=True)
        copy_files(path, str(folder), source_filesystem=files, destination_filesystem=LocalFileSystem())
    except (OSError, ValueError) as error:
        sys.exit(f"fetch_data.py: {source} could not be copied to {folder}: {error}")
    stamp.write_text(source)
    print(f"fetch_data.py: {folder} holds what is in {source}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    fetch(sys.argv[1], Path(sys.argv[2]).expanduser().absolute())
