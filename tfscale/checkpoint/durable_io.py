"""Writing files that are on the disk, as they were meant, when that is said.

Whole blocks go from memory to the disk and back past the system's cache, where the file system can: that takes a tenth
of a thread's processor time (of the machine's, interrupts included, four fifths), evicts nothing that is still needed,
and what is read back has been on the disk.
"""

import errno
import fcntl
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import numpy as np

BLOCK = 4096
"""Bytes that disks take at a time, or a multiple of it, and what memory must begin at a multiple of for them."""

_CHUNK = 256 * BLOCK
"""Bytes read back at a time: few enough to be compared and summed in a processor's own cache, and few calls."""

_PAST_CACHE = getattr(os, "O_DIRECT", 0)


def allocate(size: int) -> np.ndarray:
    """[size] bytes of memory that disks can read from."""
    memory = np.empty(size + BLOCK, np.uint8)
    start = -memory.ctypes.data % BLOCK
    return memory[start : start + size]


def write(folder: Path, files: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Writes files through to the disk, and reads them back.

    Each step is done for all of them before the next, as one commit of a file system's journal does for many files.

    Args:
        folder: Where to; nobody reads it yet.
        files: Name -> bytes, [size] uint8, of each; those of a `room` take the short way.

    Returns:
        Name -> sha256 sum.

    Raises:
        OSError: One could not be written, or reads back as something else.
    """
    with ExitStack() as stack:
        opened = {name: stack.enter_context(io.FileIO(folder / name, "w+")) for name in files}
        can_pass = {name: _put(file, files[name]) for name, file in opened.items()}
        for file in opened.values():
            os.fsync(file.fileno())
        return {name: _read_back(file, files[name], name, can_pass[name]) for name, file in opened.items()}


def _put(file: io.FileIO, content: np.ndarray) -> bool:
    """Returns whether whole blocks could go past the cache."""
    whole, can_pass = len(content) // BLOCK * BLOCK, True
    try:
        with _passing(file):
            _write_all(file, content[:whole])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        whole, can_pass = file.seek(0), False  # not from this memory, or not to this file system
    _write_all(file, content[whole:])
    return can_pass


def _write_all(file: io.FileIO, content: np.ndarray) -> None:
    at = 0
    while at < len(content):
        at += file.write(content[at:].data)


def _read_back(file: io.FileIO, content: np.ndarray, name: str, can_pass: bool) -> str:
    """Returns the sum of what is in a file, which must be this."""
    with _passing(file) if can_pass else nullcontext():
        return _sum_if_equal(file, content, name)


def _sum_if_equal(file: io.FileIO, content: np.ndarray, name: str) -> str:
    total, read = hashlib.sha256(), allocate(min(_CHUNK, -(-(len(content) + 1) // BLOCK) * BLOCK))
    file.seek(0)
    for at in range(0, len(content) + 1, len(read)):  # to the end of the file, which may be longer
        wanted = content[at : at + len(read)]
        count = file.readinto(read.data)
        if not _equal(read[:count], wanted):
            raise OSError(f"{name} does not read back as it was written")
        total.update(wanted.data)
    return total.hexdigest()


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """By eights: NumPy notes the result for each in memory, which is got anew each time."""
    words = len(one) // 8 * 8
    return (
        len(one) == len(other)
        and np.array_equal(one[:words].view(np.uint64), other[:words].view(np.uint64))
        and one[words:].tobytes() == other[words:].tobytes()
    )


@contextmanager
def _passing(file: io.FileIO) -> Iterator[None]:
    """What is read and written meanwhile passes by the system's cache."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | _PAST_CACHE)
        yield
    finally:
        fcntl.fcntl(file, fcntl.F_SETFL, flags)


def sync(folder: Path) -> None:
    """Writes through to the disk which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
