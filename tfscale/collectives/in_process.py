"""Exchange among replicas that live in one process: arithmetic, not communication.

It must give the bits of an exchange between processes, so TensorFlow's graph optimizer must not rewrite it: it would
factor out what the replicas' vectors have in common.
"""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import RegularGather, added
from tfscale.collectives.bundles import pack, unpack
from tfscale.vectors import prevent_reassociation


@final
class InProcess:
    """Collective of W replicas in this process, each on a device of its own.

    Args:
        replicas: W.
    """

    def __init__(self, *, replicas: int) -> None:
        self.size = replicas
        self.ranks = tuple(range(replicas))
        self.transport = "inside the process"

    def of(self, replicas: int) -> "InProcess":
        """See `base.Collective`."""
        return InProcess(replicas=replicas)

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [D], added by rank."""
        return tf.add_n([prevent_reassociation(vector) for vector in vectors]) / self.size

    def total(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] int8 or float16 -> [D]."""
        return added(vectors)

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the messages."""
        return list(messages)

    def regular_gather(self) -> RegularGather:
        """Returns `gather`."""
        return self.gather

    def all_to_all(self, bundles: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the messages of all bundles in other bundles."""
        opened = [unpack(bundle, self.size) for bundle in bundles]
        return [pack(messages) for messages in zip(*opened, strict=True)]

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> rank 0's [D]."""
        return tf.identity(vectors[0])
