"""Staging buffer: memory with the copy of a checkpoint, which the parent still has when the process dies.

A checkpoint is written while training goes on, so the process may die some steps later, before the checkpoint is
finalized. The copy was complete before the first of these steps: the parent reads it and finishes the save (see
`recovery`).

The memory is an unnamed file of Linux (memfd): it is freed with the last process that has it open.
"""

import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from tfscale.checkpoint import checksummed_json, durable_io

VARIABLE = "TFSCALE_STAGING_FD"
"""Environment variable with the file descriptor that a parent passes to a process that it starts."""

_NAME = "tfscale-checkpoint"
_PAGE = max(durable_io.BLOCK, mmap.ALLOCATIONGRANULARITY)


def create() -> int | None:
    """Creates shared memory for a process to be started; returns its descriptor, None where that is not possible."""
    with suppress(OSError, AttributeError):  # it is not Linux
        return os.memfd_create(_NAME)
    return None


def inherit() -> int | None:
    """Takes the descriptor that the parent has passed, if it has; processes started later do not inherit it."""
    with suppress(OSError, ValueError):  # a grandchild may have the variable but not the descriptor
        descriptor = int(os.environ.pop(VARIABLE, ""))
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"/memfd:{_NAME} "):
            return descriptor
    return None


@dataclass(frozen=True, kw_only=True)
class StagedCheckpoint:
    """Description of the part of a checkpoint that one process is about to write.

    Attributes:
        step: Optimizer steps completed.
        shared_digests: See `shards.Shard`.
        identity: See `format.Manifest`.
        parent: See `format.Manifest`.
    """

    step: int
    shared_digests: Mapping[str, int]
    identity: Mapping[str, Any]
    parent: str | None


@final
class StagingBuffer:
    """Memory for the files of one checkpoint after the other, and an index that is valid when all are filled.

    Args:
        descriptor: Of memory that this process shares with its parent; None if it does not.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor, self._size = descriptor, 0
        self._offsets: dict[int, int] = {}
        self._head = self.allocate(16).view(np.int64)  # offset and length of the index; length 0 if there is none
        self._index = self.allocate(_PAGE)

    @property
    def is_shared(self) -> bool:
        """Returns whether the parent can read what is committed."""
        return self._descriptor is not None

    def allocate(self, size: int) -> np.ndarray:
        """Allocates [size] uint8, aligned for direct writes."""
        if self._descriptor is not None:
            try:
                return self._allocate_shared(self._descriptor, size)
            except OSError:  # the limit to the size of files (ulimit -f) holds for a memfd, too
                self._descriptor = None
        return durable_io.allocate(size)

    def _allocate_shared(self, descriptor: int, size: int) -> np.ndarray:
        offset = self._size
        end = offset + -(-size // _PAGE) * _PAGE
        os.ftruncate(descriptor, end)
        buffer = np.frombuffer(mmap.mmap(descriptor, size, offset=offset), np.uint8)
        self._size, self._offsets[buffer.ctypes.data] = end, offset
        return buffer

    def invalidate(self) -> None:
        """Withdraws what was committed; from here on the buffers may be overwritten."""
        self._head[1] = 0

    def commit(self, staged: StagedCheckpoint, files: Mapping[str, np.ndarray]) -> None:
        """Declares that all buffers are filled.

        Args:
            staged: Description of the contents.
            files: Name -> bytes of each file, in buffers of `allocate`.
        """
        if not self.is_shared:
            return
        ranges = {name: (self._offsets[content.ctypes.data], len(content)) for name, content in files.items()}
        index = np.frombuffer(checksummed_json.document({**asdict(staged), "files": ranges}), np.uint8)
        if len(index) > len(self._index):
            self._index = self.allocate(2 * len(index))
            return self.commit(staged, files)
        self._index[: len(index)] = index
        self._head[0] = self._offsets[self._index.ctypes.data]
        self._head[1] = len(index)  # last, as it makes the index valid; eight bytes are written at once


def read(descriptor: int) -> tuple[StagedCheckpoint, dict[str, np.ndarray]] | None:
    """Reads what a process that is gone has committed.

    Returns:
        The description, and name -> bytes of each file; None if nothing is committed.

    Raises:
        OSError: The memory cannot be read.
        ValueError: The process damaged it before it died; see `checksummed_json.read`.
    """
    size = os.fstat(descriptor).st_size
    if not size:
        return None
    content = np.frombuffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ), np.uint8)
    offset, length = content[:16].view(np.int64).tolist()
    if not length:
        return None
    body = checksummed_json.read(content[offset : offset + length].tobytes())
    files = {name: content[first : first + count] for name, (first, count) in body.pop("files").items()}
    return StagedCheckpoint(**body), files
