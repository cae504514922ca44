"""Two bits an element, whatever is sent: 00 nothing, 01 plus, 10 minus, sixteen elements a word.

Smaller than word32 above a density of 1/16.
"""

from typing import final

import tensorflow as tf

from tfscale.codecs import base

PER_WORD = 16


def words(size: int) -> int:
    """Number of payload words for D elements."""
    return -(-size // PER_WORD)


@final
class Bitmap:
    """Writes every element's sign code; M = 3 + ceil(D / 16)."""

    def encode(self, dense: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
        """Returns [3 + ceil(D / 16)] int32; see `base.Codec`."""
        signs = base.signs(dense, threshold)
        codes = tf.where(signs < 0, 2, tf.cast(signs, tf.int32))
        rows = tf.reshape(tf.pad(codes, [[0, -tf.size(codes) % PER_WORD]]), [-1, PER_WORD])
        # Two's complement: the sum of the shifted codes wraps into the same bits as their union.
        payload = tf.reduce_sum(tf.bitwise.left_shift(rows, 2 * tf.range(PER_WORD)), axis=1)
        elements = tf.math.count_nonzero(signs, dtype=tf.int32)
        return tf.concat([base.header(base.BITMAP, elements, threshold), payload], axis=0)

    def decode(self, message: tf.Tensor, size: int) -> tf.Tensor:
        """Returns [D] float32; see `base.Codec`."""
        base.expect(message, base.BITMAP)
        payload = message[base.HEADER :]
        # A void message has no payload: it reads as zeros.
        payload = tf.pad(payload, [[0, words(size) - tf.size(payload)]])
        shifted = tf.bitwise.right_shift(payload[:, tf.newaxis], 2 * tf.range(PER_WORD))
        codes = tf.reshape(shifted, [-1])[:size]
        plus, minus = tf.bitwise.bitwise_and(codes, 1), tf.bitwise.bitwise_and(codes, 2)
        return tf.cast(plus - minus // 2, tf.float32)
