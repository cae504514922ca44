"""The bitmap code: two bits an element of the vector, 00 not sent, 01 plus, 10 minus; sixteen elements a word.

Shorter than word32 above a density of 1/16; shorter than rice only if nearly all elements are sent (0.99).
"""

from typing import final

import tensorflow as tf

from tfscale.compression.codecs import base

PER_WORD = 16


def words_of(size: int) -> int:
    """Number of payload words for D elements."""
    return -(-size // PER_WORD)


@final
class Bitmap:
    """Writes every element's sign; P = ceil(D / 16)."""

    number = 2
    repeats = False

    def __init__(self) -> None:
        self.codes = (self,)

    def length(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[n] -> ceil(D / 16); see `base.Code`."""
        return tf.constant(words_of(size), tf.int64)

    def encode(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[n] -> [ceil(D / 16)]; see `base.Code`."""
        indices = elements // 2
        bits = tf.bitwise.left_shift(1 + elements % 2, 2 * (indices % PER_WORD))
        # Disjoint bits: their sum is their union.
        return base.to_int32(tf.math.unsorted_segment_sum(bits, indices // PER_WORD, words_of(size)))

    def decode(self, payload: tf.Tensor, count: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[ceil(D / 16)] -> [n]; see `base.Code`."""
        base.check(tf.equal(tf.size(payload), words_of(size)), "a bitmap of another length")
        shifts = 2 * tf.range(PER_WORD, dtype=tf.int64)
        pairs = tf.reshape(tf.bitwise.right_shift(base.from_int32(payload)[:, tf.newaxis], shifts) % 4, [-1])
        indices = tf.where(pairs > 0)[:, 0]
        sent = tf.gather(pairs, indices)
        base.check(tf.reduce_all(sent < 3) & tf.reduce_all(indices < size), "a wrong bitmap")
        base.check(tf.equal(tf.size(sent, out_type=tf.int64), count), "fewer elements than it says")
        return indices * 2 + sent - 1
