"""Durable writes: when `write` returns, the files are on the disk and have read back equal.

Whole blocks bypass the page cache in both directions (O_DIRECT), where the file system supports it. That takes a tenth
of the writing thread's processor time (four fifths of the machine's, interrupts included), evicts no cached page that
is still needed, and guarantees that the bytes read back come from the disk.
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
"""Bytes of a disk block: direct writes have a multiple of this size, from memory aligned to it."""

_CHUNK = 256 * BLOCK
"""Bytes read back at a time: few enough to be compared and hashed in a core's own cache, and enough for few calls."""

_DIRECT = getattr(os, "O_DIRECT", 0)


def allocate(size: int) -> np.ndarray:
    """Allocates [size] uint8, aligned for direct writes."""
    memory = np.empty(size + BLOCK, np.uint8)
    start = -memory.ctypes.data % BLOCK
    return memory[start : start + size]


def write(folder: Path, files: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Writes files through to the disk and reads them back.

    All files are written, then all are synced, then all are read: one commit of the file system's journal serves many
    files.

    Args:
        folder: Target folder; nobody reads it yet.
        files: Name -> bytes of each file, [size] uint8; memory of `allocate` is written directly.

    Returns:
        Name -> sha256 of each file.

    Raises:
        OSError: A write failed, or a file reads back as something else.
    """
    with ExitStack() as stack:
        opened = {name: stack.enter_context(io.FileIO(folder / name, "w+")) for name in files}
        direct = {name: _write(file, files[name]) for name, file in opened.items()}
        for file in opened.values():
            os.fsync(file.fileno())
        return {name: _read_back(file, files[name], name, direct[name]) for name, file in opened.items()}


def _write(file: io.FileIO, content: np.ndarray) -> bool:
    """Writes a file; returns whether its whole blocks could bypass the page cache."""
    blocks, direct = len(content) // BLOCK * BLOCK, True
    try:
        with _direct(file):
            _write_all(file, content[:blocks])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        blocks, direct = file.seek(0), False  # this memory or this file system does not support it
    _write_all(file, content[blocks:])
    return direct


def _write_all(file: io.FileIO, content: np.ndarray) -> None:
    at = 0
    while at < len(content):
        at += file.write(content[at:].data)


def _read_back(file: io.FileIO, content: np.ndarray, name: str, direct: bool) -> str:
    """Returns the sha256 of a file, which must hold `content`."""
    with _direct(file) if direct else nullcontext():
        return _sha256_if_equal(file, content, name)


def _sha256_if_equal(file: io.FileIO, content: np.ndarray, name: str) -> str:
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
    """Compares eight bytes at a time: NumPy allocates a result for every element."""
    words = len(one) // 8 * 8
    return (
        len(one) == len(other)
        and np.array_equal(one[:words].view(np.uint64), other[:words].view(np.uint64))
        and one[words:].tobytes() == other[words:].tobytes()
    )


@contextmanager
def _direct(file: io.FileIO) -> Iterator[None]:
    """Makes reads and writes bypass the page cache within the block."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | _DIRECT)
        yield
    finally:
        fcntl.fcntl(file, fcntl.F_SETFL, flags)


def sync(folder: Path) -> None:
    """Writes the entries of a folder through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
