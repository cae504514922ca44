"""A mean whose bits depend neither on which process holds which replica nor on the transport.

Every process gathers all vectors and adds them in replica order. That is W vectors on the wire and in memory where an
allreduce has two, and it buys a second thing that no allreduce has: a vector travels with what its words add up to, so
a bit that was flipped on the way is an error, and not a wrong mean.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.vectors import opaque


def ordered_mean(collective: Collective, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
    """R x [D] float32 -> [D]: ((v0 + v1) + v2 + ...) / W.

    Raises:
        tf.errors.InvalidArgumentError: A vector is not what its replica sent.
    """
    size = vectors[0].shape
    messages = collective.gather([_sealed(vector) for vector in vectors])
    first, *others = (tf.ensure_shape(_opened(message, rank), size) for rank, message in enumerate(messages))
    for vector in others:
        first = opaque(first + vector)  # sums that the graph optimizer can see through it adds in an order of its own
    return first / collective.size


def ordered_bytes(elements: int, replicas: int) -> int:
    """Bytes on the wire, over all replicas, of one `ordered_mean`."""
    return 4 * (replicas - 1) * replicas * (elements + 1)


def _sealed(vector: tf.Tensor) -> tf.Tensor:
    """[D] float32 -> [D + 1] int32: its bits, and their sum modulo 2^32."""
    words = tf.bitcast(vector, tf.int32)
    return tf.concat([words, tf.reduce_sum(words)[tf.newaxis]], axis=0)


def _opened(message: tf.Tensor, rank: int) -> tf.Tensor:
    words = message[:-1]
    checked = tf.debugging.assert_equal(
        tf.reduce_sum(words), message[-1], message=f"tfscale: the message of rank {rank} is damaged: its sum is wrong"
    )
    with tf.control_dependencies([] if checked is None else [checked]):
        return opaque(tf.bitcast(words, tf.float32))
