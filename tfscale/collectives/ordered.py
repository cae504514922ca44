"""A mean whose bits depend neither on which process holds which replica nor on the transport.

Every process gathers all vectors and adds them by rank. That is W vectors on the wire and in memory where an allreduce
has two, and it has a second advantage over any allreduce: vectors travel with a checksum, so a bit that was flipped on
the way is an error, and not a wrong mean.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.collectives.checksummed import gather_checksummed
from tfscale.vectors import prevent_reassociation


def ordered_mean(collective: Collective, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
    """R x [D] float32 -> [D]: ((v0 + v1) + v2 + ...) / W.

    Raises:
        tf.errors.InvalidArgumentError: A vector was changed on the way.
    """
    shape = vectors[0].shape
    gathered = gather_checksummed(collective, [tf.bitcast(vector, tf.int32) for vector in vectors])
    floats = [tf.ensure_shape(tf.bitcast(words, tf.float32), shape) for words in gathered]
    total, *others = (prevent_reassociation(vector) for vector in floats)
    for vector in others:
        total = prevent_reassociation(total + vector)
    return total / collective.size


def ordered_bytes(elements: int, replicas: int) -> int:
    """Bytes, over all replicas, of one `ordered_mean`."""
    return 4 * (replicas - 1) * replicas * (elements + 1)
