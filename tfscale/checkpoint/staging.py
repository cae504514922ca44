"""Memory for what a process has copied to be saved, which its parent still has when the process dies.

A checkpoint is written while training goes on, so some steps later a process may die before it is sealed. The copy was
whole before the first of these steps: the parent finds it and ends the save (see `rescue`).

It is a file of Linux's that has no name: it is gone with the last process that has it open.
"""

import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from tfscale.checkpoint import checksummed_json, durable_io

VARIABLE = "TFSCALE_MEMORY"
"""Environment variable with the descriptor that a parent hands to a process that it starts."""

_NAME = "tfscale-checkpoint"
_PAGE = max(durable_io.BLOCK, mmap.ALLOCATIONGRANULARITY)


def create() -> int | None:
    """A descriptor of new memory, for a process to be started; None where the system has none, or gives none."""
    with suppress(OSError, AttributeError):  # it is not Linux
        return os.memfd_create(_NAME)
    return None


def inherit() -> int | None:
    """The descriptor that this process was handed by its parent, if it was; what it starts itself is not handed it."""
    with suppress(OSError, ValueError):  # a process further down has the variable, but not what it means
        descriptor = int(os.environ.pop(VARIABLE, ""))
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"/memfd:{_NAME} "):
            return descriptor
    return None


@dataclass(frozen=True, kw_only=True)
class StagedCheckpoint:
    """What a process is about to write of a checkpoint, besides its files.

    Attributes:
        step: Optimizer steps completed.
        alike: See `parts.write_part`.
        identity: See `checkpoint_files.Manifest`.
        parent: Likewise.
    """

    step: int
    shared_digests: Mapping[str, int]
    identity: Mapping[str, Any]
    parent: str | None


@final
class StagingBuffer:
    """Rooms for the files of one checkpoint after the other, and a word when all are filled.

    Args:
        descriptor: Of memory that this process shares with its parent; None if nobody does.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor, self._size = descriptor, 0
        self._starts: dict[int, int] = {}
        self._head = self.allocate(16).view(np.int64)  # where the word is, and its length: 0 if there is none
        self._word = self.allocate(_PAGE)

    @property
    def is_shared(self) -> bool:
        """Whether the parent will know what is told."""
        return self._descriptor is not None

    def allocate(self, size: int) -> np.ndarray:
        """[size] bytes of memory that disks can read from."""
        if self._descriptor is not None:
            try:
                return self._shared(self._descriptor, size)
            except OSError:  # a limit to the sizes of files holds for it, too
                self._descriptor = None
        return durable_io.allocate(size)

    def _shared(self, descriptor: int, size: int) -> np.ndarray:
        start = self._size
        end = start + -(-size // _PAGE) * _PAGE
        os.ftruncate(descriptor, end)
        allocate = np.frombuffer(mmap.mmap(descriptor, size, offset=start), np.uint8)
        self._size, self._starts[allocate.ctypes.data] = end, start
        return allocate

    def invalidate(self) -> None:
        """From here on the rooms may be filled anew."""
        self._head[1] = 0

    def commit(self, copy: StagedCheckpoint, files: Mapping[str, np.ndarray]) -> None:
        """All rooms are filled.

        Args:
            copy: With what.
            files: Name -> bytes of each, in rooms of ours.
        """
        if not self.is_shared:
            return
        places = {name: (self._starts[content.ctypes.data], len(content)) for name, content in files.items()}
        word = np.frombuffer(checksummed_json.document({**asdict(copy), "files": places}), np.uint8)
        if len(word) > len(self._word):
            self._word = self.allocate(2 * len(word))
            return self.commit(copy, files)
        self._word[: len(word)] = word
        self._head[0] = self._starts[self._word.ctypes.data]
        self._head[1] = len(word)  # the last: eight bytes are written at once


def read(descriptor: int) -> tuple[StagedCheckpoint, dict[str, np.ndarray]] | None:
    """What a process that is gone has told: the copy, and name -> bytes of its files; None if it was not whole.

    Raises:
        OSError: It cannot be read.
        ValueError: The process has damaged it before it died; see `summed.read`.
    """
    size = os.fstat(descriptor).st_size
    if not size:
        return None
    content = np.frombuffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ), np.uint8)
    start, length = content[:16].view(np.int64).tolist()
    if not length:
        return None
    body = checksummed_json.read(content[start : start + length].tobytes())
    files = {name: content[first : first + count] for name, (first, count) in body.pop("files").items()}
    return StagedCheckpoint(**body), files
