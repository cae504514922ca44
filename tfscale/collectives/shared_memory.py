"""Exchange among the processes of one host through shared memory, not over loopback.

Over loopback an exchange wakes four threads on both sides and copies everything through the kernel: 0.7 ms for a
message of a few hundred bytes, 3 ms for a gradient of LeNet's size, of a step of 10 ms. Here it is two copies and a
spin. Processes find each other by Horovod, which also carries what is exchanged outside of compiled steps.

The memory has no name, so none is left behind however a process ends: the others open it by the descriptor of the
process that made it. The processes that wait notice when another ends.
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

AllGather = Callable[[Sequence[int]], list[list[int]]]
"""Integers of this process -> those of all, by process; all processes must call it."""

INITIAL_BYTES = 4096
"""Initial size of a segment, which kernels/shared_memory.h enlarges."""

GONE = "another process of the job"
"""Words of the operations' message about a process that does not come any more."""

SEGMENTS = 2
"""Segments of a process; see kernels/shared_memory.h."""


def _make() -> int:
    """Makes a segment; returns its descriptor."""
    descriptor = os.memfd_create("tfscale")
    os.posix_fallocate(descriptor, 0, INITIAL_BYTES)
    return descriptor


def _open(pid: int, descriptor: int) -> int:
    return os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)


def _is_there(pid: int, descriptor: int, mark: int) -> bool:
    """True if the segment of a process can be opened and begins with the mark."""
    with suppress(OSError):
        opened = _open(pid, descriptor)
        try:
            return os.pread(opened, 4, 0) == mark.to_bytes(4, "little")
        finally:
            os.close(opened)
    return False


def can_be_shared(all_gather: AllGather) -> bool:
    """Returns True in all processes of the job if all can open each other's segments, which is tried; else False."""
    own, mark = -1, secrets.randbelow(2**31)
    if library.load() is not None and sys.platform == "linux":
        with suppress(OSError):
            own = _make()
            os.pwrite(own, mark.to_bytes(4, "little"), 0)
    try:
        segments = all_gather([os.getpid(), own, mark])
        opened = int(all(_is_there(*segment) for segment in segments))
        return all(answer == [1] for answer in all_gather([opened]))
    finally:
        if own >= 0:
            os.close(own)


@final
class SharedMemory:
    """Exchange among the processes of a host, inside compiled functions; see `can_be_shared`.

    Args:
        process: Index of this process.
        replicas: Number of replicas of each process.
        all_gather: Carries descriptors between processes.
    """

    def __init__(self, *, process: int, replicas: Sequence[int], all_gather: AllGather) -> None:
        self._process, self._replicas, self._all_gather = process, list(replicas), all_gather
        self._operations: Any = library.load()

    def of(self, replicas: Sequence[int]) -> "SharedMemory":
        """Returns the exchange of the same processes with other numbers of replicas."""
        return SharedMemory(process=self._process, replicas=replicas, all_gather=self._all_gather)

    def _segments(self) -> dict[str, Any]:
        """Makes segments for one call site in a function; returns those of all processes as attributes of operations.

        They stay until the process ends, as the function may.

        Raises:
            RunError: Another process is gone.
        """
        with tf.init_scope():
            made = self._all_gather([os.getpid(), *(_make() for _ in range(SEGMENTS))])
        pids = [pid for pid, *_ in made]
        try:
            descriptors = [
                descriptor if pid == os.getpid() else _open(pid, descriptor)
                for pid, *segments in made
                for descriptor in segments
            ]
        except FileNotFoundError as error:
            raise RunError(f"{GONE} is gone: {error.filename}") from error
        return {"pids": pids, "descriptors": descriptors, "process": self._process}

    def mean(self, total: tf.Tensor) -> tf.Tensor:
        """[D] float32, the sum of this process's replicas -> the mean over all W, added by process."""
        with tf.device("CPU:0"):
            return self._operations.tfscale_shared_mean(total, replicas=sum(self._replicas), **self._segments())

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] int32 -> W x [M_w], by rank."""
        with tf.device("CPU:0"):
            gathered = self._operations.tfscale_shared_gather(
                list(messages),
                replicas_by_process=self._replicas,
                replicas=sum(self._replicas),
                **self._segments(),
            )
        return list(gathered)
