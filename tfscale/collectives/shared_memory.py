"""How processes of one host exchange tensors: through memory that all of them see, not over loopback.

Over loopback an exchange wakes four threads on both sides and copies everything through the kernel: 0.7 ms for a
message of a few hundred bytes, 3 ms for a gradient of LeNet's size, of a step of 10 ms. Here it is two copies and a
look. Processes find each other by Horovod, which also carries whatever is exchanged outside of compiled steps.

The memory has no name, so nothing is left of it however a process ends: the others open it by the descriptor of the
process that has made it. A process that is gone is noticed by those who wait for it.
"""

import os
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, final

import tensorflow as tf

from tfscale.errors import RunError
from tfscale.kernels import library

Tell = Callable[[Sequence[int]], list[list[int]]]
"""Numbers of this process -> those of all, by process; all processes must call it."""

FIRST = 4096
"""Bytes of a seat at first; kernels/shared_memory.h makes it larger."""

GONE = "another process of the job"
"""What the operations say of one that does not come any more."""

SEATS = 2
"""Of a process; see kernels/shared_memory.h."""


def _make() -> int:
    descriptor = os.memfd_create("tfscale")
    os.posix_fallocate(descriptor, 0, FIRST)
    return descriptor


def _open(process: int, descriptor: int) -> int:
    return os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)


def _is_there(process: int, descriptor: int, mark: int) -> bool:
    """Whether the memory that a process has made can be opened, and is that one: it begins with its mark."""
    with suppress(OSError):
        opened = _open(process, descriptor)
        try:
            return os.pread(opened, 4, 0) == mark.to_bytes(4, "little")
        finally:
            os.close(opened)
    return False


def can_be_shared(tell: Tell) -> bool:
    """Whether all processes of the job can see each other's memory: tried, and decided alike in all of them."""
    own, mark = -1, secrets.randbelow(2**31)
    if library.load() is not None and sys.platform == "linux":
        with suppress(OSError):
            own = _make()
            os.pwrite(own, mark.to_bytes(4, "little"), 0)
    try:
        told = tell([os.getpid(), own, mark])
        return all(sees == [1] for sees in tell([int(all(_is_there(*each) for each in told))]))
    finally:
        if own >= 0:
            os.close(own)


@final
class SharedMemory:
    """Exchange among the processes of a host, inside compiled functions; see `can_be_shared`.

    Args:
        process: The number of this one.
        held: How many replicas each process holds.
        tell: How processes find each other's memory.
    """

    def __init__(self, *, process: int, held: Sequence[int], tell: Tell) -> None:
        self._process, self._held, self._tell = process, list(held), tell
        self._operations: Any = library.load()

    def _seats(self) -> dict[str, Any]:
        """New memory for one place in a function: seats of all processes, as the operations take them.

        It stays for as long as the process does, as the function may.

        Raises:
            RunError: Another process is gone.
        """
        with tf.init_scope():
            told = self._tell([os.getpid(), *(_make() for _ in range(SEATS))])
        processes = [process for process, *_ in told]
        try:
            descriptors = [
                descriptor if process == os.getpid() else _open(process, descriptor)
                for process, *made in told
                for descriptor in made
            ]
        except FileNotFoundError as error:
            raise RunError(f"{GONE} is gone: {error.filename}") from error
        return {"processes": processes, "descriptors": descriptors, "own": self._process}

    def mean(self, total: tf.Tensor) -> tf.Tensor:
        """[D] float32, the sum of this process's replicas -> the mean over all W; sums run by process."""
        with tf.device("CPU:0"):
            return self._operations.tfscale_share_mean(total, replicas=sum(self._held), **self._seats())

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] int32 -> W x [M_w], by rank."""
        with tf.device("CPU:0"):
            return list(
                self._operations.tfscale_share_messages(
                    list(messages), held=self._held, replicas=sum(self._held), **self._seats()
                )
            )
