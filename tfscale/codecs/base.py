"""The codec seam: a dense vector and a threshold go in, a self-describing message comes out.

A message is an int32 vector [M], M >= 3, and starts with HEADER words:

    0  format: which code the rest is in (VOID says: this replica asks to skip the step)
    1  count: number of elements sent
    2  threshold: its 32 float bits, so that a message can be read by itself

Empty messages have deadlocked other systems, so a message without elements still carries its header. Decoding returns
signs, not multiples of the threshold: signs add up exactly in float32 whatever their order, and one multiplication at
the end makes the sum of all replicas bit-identical everywhere.
"""

from typing import Protocol

import tensorflow as tf

HEADER = 3
VOID, WORD32, BITMAP = 0, 1, 2


class Codec(Protocol):
    """How the elements that reach the threshold are written down. Codecs have no state."""

    def encode(self, dense: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
        """Returns the message [M] int32 that says which elements are >= threshold and which <= -threshold.

        Args:
            dense: [D] float32. A NaN is never sent; an infinity is sent like any large element.
            threshold: [] float32, > 0.
        """
        ...

    def decode(self, message: tf.Tensor, size: int) -> tf.Tensor:
        """Returns [D] float32 with 1, -1 or 0: `encode`'s exact inverse up to the threshold's size.

        Args:
            message: [M] int32, from `encode` or `void`. The latter decodes to zeros.
            size: D.

        Raises:
            tf.errors.InvalidArgumentError: The message is in a format that this codec does not read.
        """
        ...


def signs(dense: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Returns 1 where dense >= threshold, -1 where dense <= -threshold, else 0, as [D] float32."""
    return tf.where(tf.abs(dense) >= threshold, tf.sign(dense), 0.0)


def header(code: int, elements: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Returns the first HEADER words of a message that sends `elements` elements."""
    return tf.stack([tf.constant(code, tf.int32), tf.cast(elements, tf.int32), tf.bitcast(threshold, tf.int32)])


def void(threshold: tf.Tensor) -> tf.Tensor:
    """The message of a replica whose contribution cannot be used (NaN or Inf): it asks all to skip the step."""
    return header(VOID, tf.constant(0), threshold)


def is_void(message: tf.Tensor) -> tf.Tensor:
    """Whether the message asks to skip the step, [] bool."""
    return tf.equal(message[0], VOID)


def count(message: tf.Tensor) -> tf.Tensor:
    """Number of elements that the message sends, [] int32."""
    return message[1]


def expect(message: tf.Tensor, *codes: int) -> None:
    """Refuses a message in another format than `codes`."""
    known = tf.reduce_any([tf.equal(message[0], code) for code in (VOID, *codes)])
    tf.debugging.Assert(known, ["a message in an unknown format arrived", message[0]])
