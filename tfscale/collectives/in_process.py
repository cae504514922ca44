"""Exchange among replicas that live in one process: arithmetic, not communication."""

from collections.abc import Sequence
from typing import final

import tensorflow as tf


@final
class InProcess:
    """All W replicas are in this process, each on a device of its own.

    Args:
        replicas: W.
    """

    def __init__(self, *, replicas: int) -> None:
        self.size = replicas
        self.ranks = tuple(range(replicas))

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [D]; the sum runs in replica order."""
        return tf.add_n(list(vectors)) / self.size if self.size > 1 else tf.identity(vectors[0])

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] -> the same."""
        return list(messages)

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> rank 0's [D]."""
        return tf.identity(vectors[0])
