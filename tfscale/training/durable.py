"""Writing files that are on the disk, whole, when that is said."""

import os
from pathlib import Path

_CHUNK = 1 << 16
"""Bytes compared at a time: few enough to stay in a processor's cache, and in memory that is not asked for anew."""


def write(path: Path, content: bytes) -> None:
    """Writes aside, through to the disk, reads that back, and renames it.

    Raises:
        OSError: It could not be written, or reads back as something else.
    """
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    with temporary.open("rb") as stream:
        for at in range(0, len(content), _CHUNK):
            if stream.read(_CHUNK) != content[at : at + _CHUNK]:
                raise OSError(f"{path.name} does not read back as it was written")
    os.replace(temporary, path)


def sync(folder: Path) -> None:
    """Writes through to the disk which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
