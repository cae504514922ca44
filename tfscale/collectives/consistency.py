"""Consistency digests: replicas that should hold equal parameters compare them at every exchange.

The digest of a replica's parameters travels in an allreduce as two integers in slots of its own, to which all other
replicas add zeros: exact in float32, and no further exchange. So a replica that drifts is found at once.
"""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from tfscale.digest import majority

SLOTS = 2
"""Floats of a replica: a digest in halves of 16 bits, which float32 holds exactly."""


def digest_slots(digests: Iterable[tf.Tensor], ranks: Sequence[int], replicas: int) -> list[tf.Tensor]:
    """R x [] int32, of the replicas `ranks` -> R x [SLOTS * W] float32, for a mean over all `replicas`."""
    return [_slots(digest, rank, replicas) for digest, rank in zip(digests, ranks, strict=True)]


def _slots(digest: tf.Tensor, rank: int, replicas: int) -> tf.Tensor:
    halves = tf.cast(tf.bitcast(digest, tf.uint16), tf.float32)
    return tf.pad(halves, [[SLOTS * rank, SLOTS * (replicas - rank - 1)]])


def decode_digests(mean: tf.Tensor, replicas: int) -> tf.Tensor:
    """The mean of all slots [SLOTS * W] -> the digests [W] int32."""
    halves = tf.cast(tf.cast(tf.round(mean * replicas), tf.int32), tf.uint16)  # a value that is too large wraps
    return tf.bitcast(tf.reshape(halves, [replicas, SLOTS]), tf.int32)


def require_consistent(digests: tf.Tensor, step: tf.Tensor, *, first_rank: int = 0) -> tf.Tensor | None:
    """Fails if the digests [W] are not all equal; uses of the parameters must wait for it. None outside of a graph.

    Args:
        digests: By rank.
        step: [] int64, for the message.
        first_rank: Of the first digest.

    Raises:
        tf.errors.InvalidArgumentError: The message names the first rank that differs from most others; of two, the
            second one.
    """

    def fail() -> tf.Operation | None:
        rank = first_rank + tf.argmin(tf.cast(tf.equal(digests, majority(digests)), tf.int32))
        who, when = tf.strings.as_string(rank), tf.strings.as_string(step)
        text = tf.strings.join(["tfscale: the parameters of rank ", who, " differ from the others' at step ", when])
        return tf.raw_ops.Assert(condition=False, data=[text])

    return tf.cond(tf.reduce_all(tf.equal(digests, digests[0])), tf.no_op, fail)
