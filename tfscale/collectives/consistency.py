"""Replicas that should hold equal parameters say in each exchange which they hold, so one that drifts is found at once.

The digest of a replica's parameters travels in an allreduce as two whole numbers in places of its own, to which all
other replicas add zeros: exact in float32, and no exchange more.
"""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from tfscale.digest import majority

PLACES = 2
"""Floats a replica: a digest in halves of 16 bits, which float32 holds exactly."""


def digest_slots(digests: Iterable[tf.Tensor], ranks: Sequence[int], replicas: int) -> list[tf.Tensor]:
    """R x [] int32, of the replicas `ranks` -> R x [PLACES * W] float32, for a mean over all `replicas`."""
    return [_slots(digest, rank, replicas) for digest, rank in zip(digests, ranks, strict=True)]


def _slots(digest: tf.Tensor, rank: int, replicas: int) -> tf.Tensor:
    halves = tf.cast(tf.bitcast(digest, tf.uint16), tf.float32)
    return tf.pad(halves, [[PLACES * rank, PLACES * (replicas - rank - 1)]])


def decode_digests(mean: tf.Tensor, replicas: int) -> tf.Tensor:
    """The mean of all ballots [PLACES * W] -> the digests [W] int32."""
    halves = tf.cast(tf.cast(tf.round(mean * replicas), tf.int32), tf.uint16)  # what is too large wraps
    return tf.bitcast(tf.reshape(halves, [replicas, PLACES]), tf.int32)


def require_consistent(digests: tf.Tensor, step: tf.Tensor) -> tf.Tensor | None:
    """Fails if the digests [W] are not all equal; what uses the parameters must wait for it. None outside of a graph.

    Args:
        digests: By rank.
        step: [] int64, for the message.

    Raises:
        tf.errors.InvalidArgumentError: It names the first rank that differs from most others, or, of two, rank 1.
    """

    def fail() -> tf.Operation | None:
        rank = tf.argmin(tf.cast(tf.equal(digests, majority(digests)), tf.int32))
        who, when = tf.strings.as_string(rank), tf.strings.as_string(step)
        words = tf.strings.join(["tfscale: the parameters of rank ", who, " differ from the others' at step ", when])
        return tf.raw_ops.Assert(condition=False, data=[words])

    return tf.cond(tf.reduce_all(tf.equal(digests, digests[0])), tf.no_op, fail)
