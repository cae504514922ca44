"""Bundles: a message for each of W ranks, one after the other, behind their W lengths; in 32-bit words.

Where replicas divide the work of adding, each adds one part of the elements. A replica's own bundle has its elements of
each part; the bundle that it receives has those of all replicas for its own part.
"""

from collections.abc import Sequence

import tensorflow as tf


def pack(messages: Sequence[tf.Tensor]) -> tf.Tensor:
    """W x [M_w] int32 -> the bundle [W + all M_w]."""
    return tf.concat([tf.stack([tf.size(message) for message in messages]), *messages], axis=0)


def unpack(bundle: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns the messages of a bundle, by rank.

    Args:
        bundle: [n] int32.
        count: W.

    Raises:
        tf.errors.InvalidArgumentError: A length is wrong.
    """
    good = tf.size(bundle) >= count
    lengths = tf.where(good, tf.pad(bundle, [[0, tf.maximum(0, count - tf.size(bundle))]])[:count], 0)
    length = tf.reduce_sum(tf.cast(lengths, tf.int64)) + count
    good &= tf.reduce_all(lengths >= 0) & tf.equal(length, tf.size(bundle, tf.int64))
    checked = tf.debugging.Assert(good, ["tfscale: a bundle is damaged: its lengths are wrong"])
    with tf.control_dependencies([] if checked is None else [checked]):
        return tf.split(bundle[count:], tf.identity(lengths), num=count)
