"""The codec seam: sparse elements in, the payload of a message out.

A sparse element is `index << 1 | negative`, as int64; a list has them in the order of their indices. With L levels an
element may stand up to L times in it, once for each threshold that is sent of it. A code is one way to write such a
list; a codec is a choice of codes, of which each message takes the shortest. The choice is made from
the list alone, and every code is exact, so changing the code between steps loses nothing (DeepLearning4j's change loses
up to D/16 elements).

These are TensorFlow operations for any device: the reference that the native kernels match bit for bit, and what runs
without them.
"""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

MAXIMUM_SIZE = 2**31
"""D must be below it: an index and a sign share 32 bits."""


class Code(Protocol):
    """One way to write a list of sparse elements.

    Attributes:
        number: Format in a message's header.
        repeats: Whether it can write lists in which elements stand several times.
    """

    number: int
    repeats: bool

    def length(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """Number of words of the payload, [] int64."""
        ...

    def encode(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """Writes the payload [P] int32 of a list [n] int64, of a vector with `size` = D elements."""
        ...

    def decode(self, payload: tf.Tensor, count: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """Reads the list [n] int64 of `count` = n elements: decode(encode(x)) == x.

        Raises:
            tf.errors.InvalidArgumentError: `encode` makes no such payload.
        """
        ...


class Codec(Protocol):
    """A choice of codes.

    Attributes:
        codes: At least one; of equally short ones the first is taken.
    """

    codes: Sequence[Code]


def to_int32(words: tf.Tensor) -> tf.Tensor:
    """int64 in [0, 2^32) -> the int32 with the same 32 bits."""
    return tf.bitcast(tf.cast(words, tf.uint32), tf.int32)


def from_int32(words: tf.Tensor) -> tf.Tensor:
    """int32 -> the int64 in [0, 2^32) with the same 32 bits."""
    return tf.cast(tf.bitcast(words, tf.uint32), tf.int64)


def ascend(elements: tf.Tensor, levels: int) -> tf.Tensor:
    """Returns whether a list [n] is in order, and no element stands in it with both signs or too often, [] bool."""
    indices = elements // 2
    equal = tf.reduce_all((indices[1:] > indices[:-1]) | (elements[1:] == elements[:-1]))
    return equal & tf.reduce_all(indices[levels:] > indices[:-levels])


def check(good: tf.Tensor, what: str) -> None:
    """Refuses a payload unless `good` [] bool.

    Raises:
        tf.errors.InvalidArgumentError: It is not; `what` says what is wrong.
    """
    tf.debugging.Assert(good, [what])
