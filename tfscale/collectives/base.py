"""The collective seam.

A collective takes the tensors of all replicas that this process holds (R of them), never "my tensor". In-process
exchange is then a pure function without threads, and several replicas a process need no second code path. A symmetric
collective gives the same result everywhere, so the result is returned once.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from tfscale.vectors import prevent_reassociation


class RegularGather(Protocol):
    """A gather that happens at every step."""

    def __call__(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] int32 -> W x [M_w], by rank."""
        ...


class Collective(Protocol):
    """Exchange among the W replicas of a job. All processes make the same calls in the same order.

    Attributes:
        size: W.
        ranks: Global indices of this process's R replicas, ascending and contiguous.
        transport: Transport of compiled steps, for the run's first lines.
    """

    size: int
    ranks: tuple[int, ...]

    @property
    def transport(self) -> str:
        """A phrase, like "by Horovod"."""
        ...

    def of(self, replicas: int) -> "Collective":
        """Returns the collective of the same processes with another number of replicas."""
        ...

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] float32 -> [D]: the mean over all W replicas, the same bits in every process."""
        ...

    def total(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] int8 or float16 -> [D]: the sum over all W replicas, which the type must hold."""
        ...

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] int32 -> W x [M_w], by rank. Lengths may differ and may be 0."""
        ...

    def regular_gather(self) -> RegularGather:
        """A gather for one call site of every step; it may have a state."""
        ...

    def all_to_all(self, bundles: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R bundles to all -> R bundles from all, by rank; see `bundles`."""
        ...

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] float32 -> rank 0's [D], bit for bit."""
        ...


def ranks_of(process: int, processes: int, replicas: int) -> tuple[int, ...]:
    """The ranks of the replicas that one process holds: contiguous, and as even as possible.

    Raises:
        ValueError: There are fewer replicas than processes.
    """
    if replicas < processes:
        raise ValueError(f"{replicas} replicas cannot occupy {processes} processes")
    return tuple(range(process * replicas // processes, (process + 1) * replicas // processes))


def mean_bytes(elements: int, replicas: int, *, element: int = 4) -> int:
    """Bytes, over all replicas, of one mean or total by a ring: each replica sends 2 (W - 1) / W of the vector.

    Args:
        elements: D.
        replicas: W.
        element: Bytes of an element.
    """
    return 2 * (replicas - 1) * element * elements


def added(vectors: Sequence[tf.Tensor]) -> tf.Tensor:
    """R x [D] -> [D], added by rank."""
    return functools.reduce(operator.add, map(prevent_reassociation, vectors))


def bundle_bytes(words: tf.Tensor) -> tf.Tensor:
    """Bytes, over all replicas, of bundles with `words` words for others in all."""
    return 4 * tf.cast(words, tf.int64)


def gather_bytes(words: tf.Tensor, replicas: int) -> tf.Tensor:
    """Bytes, over all replicas, of one gather of messages with `words` words in all: each goes to W - 1 others."""
    return 4 * (replicas - 1) * tf.cast(words, tf.int64)
