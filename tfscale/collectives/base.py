"""The collective seam.

A collective takes the tensors of all replicas that THIS process holds (R of them), never "my tensor". In-process
exchange is then a pure function without threads, several replicas a process cost no second code path, and because a
symmetric collective gives the same answer everywhere, the answer is returned once.
"""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf


class RegularGather(Protocol):
    """A gather that happens every step."""

    def __call__(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] int32 -> W x [M_w], by rank."""
        ...


class Collective(Protocol):
    """How the W replicas of a job exchange tensors. All processes make the same calls in the same order.

    Attributes:
        size: W.
        ranks: The global indices of this process's R replicas, ascending and contiguous.
        transport: How compiled steps exchange, for the run's first lines.
    """

    size: int
    ranks: tuple[int, ...]

    @property
    def transport(self) -> str:
        """A few words: "by Horovod"."""
        ...

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] float32 -> [D]: the mean over all W replicas, the same bits in every process."""
        ...

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] int32 -> W x [M_w], by rank. Lengths may differ and may be 0."""
        ...

    def regular_gather(self) -> RegularGather:
        """A gather for one place in every step, which may remember what it has seen there."""
        ...

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] float32 -> rank 0's [D], bit for bit."""
        ...


def ranks_of(process: int, processes: int, replicas: int) -> tuple[int, ...]:
    """The replicas that one process holds: contiguous, and as even as can be.

    Raises:
        ValueError: There are fewer replicas than processes.
    """
    if replicas < processes:
        raise ValueError(f"{replicas} replicas cannot occupy {processes} processes")
    return tuple(range(process * replicas // processes, (process + 1) * replicas // processes))


def mean_bytes(elements: int, replicas: int) -> int:
    """Bytes on the wire, over all replicas, of one float32 mean as a ring does it: 2 (W - 1) / W each way a replica."""
    return 2 * (replicas - 1) * 4 * elements


def gather_bytes(words: tf.Tensor, replicas: int) -> tf.Tensor:
    """Bytes, over all replicas, of one gather of messages with `words` words in all: each goes to W - 1 others."""
    return 4 * (replicas - 1) * tf.cast(words, tf.int64)
