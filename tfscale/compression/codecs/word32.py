"""One 32-bit word an element: 31 bits of index and a sign bit, as Strom proposed (Interspeech 2015)."""

from typing import final

import tensorflow as tf

from tfscale.compression.codecs import base


@final
class Word32:
    """Writes the list as it is; P = count."""

    number = 1

    def __init__(self) -> None:
        self.codes = (self,)

    def length(self, words: tf.Tensor, size: int) -> tf.Tensor:
        """[n] -> n; see `base.Code`."""
        return tf.size(words, out_type=tf.int64)

    def pack(self, words: tf.Tensor, size: int) -> tf.Tensor:
        """[n] -> [n]; see `base.Code`."""
        return base.to_int32(words)

    def unpack(self, payload: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
        """[n] -> [n]; see `base.Code`."""
        words = base.from_int32(payload)
        indices = words // 2
        rising = tf.reduce_all(indices[1:] > indices[:-1])
        base.check(tf.equal(tf.size(words, out_type=tf.int64), count), "a list of another length")
        base.check(tf.logical_and(rising, tf.reduce_all(indices < size)), "indices out of order")
        return words
