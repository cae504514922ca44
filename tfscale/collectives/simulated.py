"""A collective for measurements: one replica, and peers that send exactly what it sends.

So one process measures what a replica of a job of any size computes, its peers' messages included, without any of them.
"""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import RegularGather
from tfscale.collectives.bundles import pack, unpack


@final
class Simulated:
    """Collective of W replicas, of which this process holds the only real one.

    Args:
        replicas: W.
    """

    def __init__(self, *, replicas: int) -> None:
        self.size = replicas
        self.ranks: tuple[int, ...] = (0,)
        self.transport = "simulated"

    def of(self, replicas: int) -> "Simulated":
        """See `base.Collective`."""
        return Simulated(replicas=replicas)

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """1 x [D] -> [D], unchanged."""
        return tf.identity(vectors[0])

    def total(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """1 x [D] int8 or float16 -> [D], W times as much."""
        return vectors[0] * tf.cast(self.size, vectors[0].dtype)

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """1 x [M] -> W x [M], the same one."""
        return [messages[0]] * self.size

    def regular_gather(self) -> RegularGather:
        """Returns `gather`."""
        return self.gather

    def all_to_all(self, bundles: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """1 bundle -> 1 bundle, its first message from each."""
        return [pack([unpack(bundles[0], self.size)[0]] * self.size)]

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """1 x [D] -> [D], unchanged."""
        return tf.identity(vectors[0])
