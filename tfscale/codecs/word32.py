"""Strom's code: one 32-bit word an element, 31 bits of index and one of sign.

The smallest below a density of 1/16, and the simplest to read; entropy-coded gaps need 2.5 times fewer bits.

References:
    Strom, "Scalable distributed DNN training using commodity GPU cloud computing", Interspeech 2015.
"""

from typing import final

import tensorflow as tf

from tfscale.codecs import base

MAXIMUM_SIZE = 2**31
"""D must be below this: the index has 31 bits."""


@final
class Word32:
    """Writes each sent element as (index << 1) | is_negative."""

    def encode(self, dense: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
        """Returns [3 + count] int32; see `base.Codec`."""
        indices = tf.where(tf.abs(dense) >= threshold)[:, 0]
        negative = tf.cast(tf.gather(dense, indices) < 0, tf.int64)
        words = tf.bitcast(tf.cast(indices * 2 + negative, tf.uint32), tf.int32)
        return tf.concat([base.header(base.WORD32, tf.size(words), threshold), words], axis=0)

    def decode(self, message: tf.Tensor, size: int) -> tf.Tensor:
        """Returns [D] float32; see `base.Codec`."""
        base.expect(message, base.WORD32)
        words = tf.cast(tf.bitcast(message[base.HEADER :], tf.uint32), tf.int64)
        values = 1.0 - 2.0 * tf.cast(words % 2, tf.float32)
        return tf.scatter_nd((words // 2)[:, tf.newaxis], values, [size])
