"""Writing files that are on the disk, whole, when that is said."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 16
"""Bytes compared at a time: few enough to stay in a processor's cache, and in memory that is not asked for anew."""


def write(path: Path, content: bytes) -> None:
    """Writes aside, through to the disk, reads that back, and renames it.

    Raises:
        OSError: It could not be written, or reads back as something else.
    """
    with written(path, lambda aside: aside.write_bytes(content)) as stream:
        expect(stream, memoryview(content))


@contextmanager
def written(path: Path, write_to: Callable[[Path], object]) -> Iterator[BinaryIO]:
    """Has a file written aside, through to the disk, and gives it to be read back to its end; then renames it.

    Raises:
        OSError: It could not be written, or more was written than was read back.
    """
    aside = path.with_name(f"{path.name}.new")
    write_to(aside)
    with aside.open("rb") as stream:
        os.fsync(stream.fileno())
        yield stream
        if stream.read(1):
            raise _differs(stream)
    os.replace(aside, path)


def expect(stream: BinaryIO, content: memoryview) -> None:
    """Reads as many bytes as were meant to be here, and compares them.

    Raises:
        OSError: They are others, or fewer.
    """
    for at in range(0, len(content), _CHUNK):
        wanted = content[at : at + _CHUNK].tobytes()
        if stream.read(len(wanted)) != wanted:
            raise _differs(stream)


def _differs(stream: BinaryIO) -> OSError:
    return OSError(f"{Path(stream.name).stem} does not read back as it was written")


def sync(folder: Path) -> None:
    """Writes through to the disk which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
