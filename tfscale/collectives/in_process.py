"""Exchange among replicas that live in one process: arithmetic, not communication.

It must give the bits that an exchange between processes gives, so TensorFlow's graph optimizer may not look through it:
it would draw a common factor of the replicas' vectors out of their sum.
"""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import RegularGather
from tfscale.vectors import prevent_reassociation


@final
class InProcess:
    """All W replicas are in this process, each on a device of its own.

    Args:
        replicas: W.
    """

    def __init__(self, *, replicas: int) -> None:
        self.size = replicas
        self.ranks = tuple(range(replicas))
        self.transport = "inside the process"

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [D]; the sum runs in replica order."""
        return tf.add_n([prevent_reassociation(vector) for vector in vectors]) / self.size

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] -> the same."""
        return list(messages)

    def regular_gather(self) -> RegularGather:
        """The same as `gather`."""
        return self.gather

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> rank 0's [D]."""
        return tf.identity(vectors[0])
