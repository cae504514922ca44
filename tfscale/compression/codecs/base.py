"""The codec seam: what is to be sent goes in as a list of words, the payload of a message comes out.

A sent element is one word, `index << 1 | negative`, as int64; a list has them in the order of their indices. A code is
one way to write such a list down; a codec is a choice of codes, of which the shortest is taken for each message. The
choice follows from the list before anything is written, and all codes say the same, so switching loses nothing
(DeepLearning4j's switch loses up to D/16 elements).

These are plain TensorFlow operations, for any device: the reference that the native kernels are held against, bit for
bit, and what runs where there are none.
"""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

MAXIMUM_SIZE = 2**31
"""D must be below it: an index and a sign share 32 bits."""


class Code(Protocol):
    """One way to write a list of sent elements.

    Attributes:
        number: Stands for it in a message's header.
    """

    number: int

    def length(self, words: tf.Tensor, size: int) -> tf.Tensor:
        """Number of words of the payload, [] int64."""
        ...

    def pack(self, words: tf.Tensor, size: int) -> tf.Tensor:
        """Returns the payload [P] int32 of a list [n] int64 from a vector of `size` = D elements."""
        ...

    def unpack(self, payload: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
        """Returns the list [n] int64 of `count` = n elements: `pack`'s inverse.

        Raises:
            tf.errors.InvalidArgumentError: The payload is none that `pack` makes.
        """
        ...


class Codec(Protocol):
    """Which codes may be used.

    Attributes:
        codes: At least one; the first of equally short ones is taken.
    """

    codes: Sequence[Code]


def to_int32(words: tf.Tensor) -> tf.Tensor:
    """int64 in [0, 2^32) -> the int32 with the same 32 bits."""
    return tf.bitcast(tf.cast(words, tf.uint32), tf.int32)


def from_int32(words: tf.Tensor) -> tf.Tensor:
    """int32 -> the int64 in [0, 2^32) with the same 32 bits."""
    return tf.cast(tf.bitcast(words, tf.uint32), tf.int64)


def check(good: tf.Tensor, what: str) -> None:
    """Refuses a payload."""
    tf.debugging.Assert(good, [what])
