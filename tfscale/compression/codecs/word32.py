"""The word32 code: one 32-bit word an element, 31 bits of index and a sign bit (Strom, Interspeech 2015)."""

from typing import final

import tensorflow as tf

from tfscale.compression.codecs import base


@final
class Word32:
    """Writes the list as it is; P = n."""

    number = 1
    repeats = True

    def __init__(self) -> None:
        self.codes = (self,)

    def length(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[n] -> n; see `base.Code`."""
        return tf.size(elements, out_type=tf.int64)

    def encode(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[n] -> [n]; see `base.Code`."""
        return base.to_int32(elements)

    def decode(self, payload: tf.Tensor, count: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[n] -> [n]; see `base.Code`."""
        elements = base.from_int32(payload)
        base.check(tf.equal(tf.size(elements, out_type=tf.int64), count), "a list of another length")
        base.check(base.ascend(elements, levels) & tf.reduce_all(elements // 2 < size), "indices out of order")
        return elements
