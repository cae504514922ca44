"""The frame of a message: who may trust it, and what is in it.

A message is an int32 vector of HEADER words and a payload, in 32-bit fields:

    0  format: a code's number, VOID (this replica's contribution cannot be used: all skip the step) or OPENING (there
       is no threshold yet: the payload proposes one); strain << 8
    1  step: optimizer steps completed when it was made
    2  threshold: its float bits, or, with one a tensor, the checksum of all
    3  count: elements sent
    4  digest of the parameters that its gradients were computed with
    5  checksum of everything else

24 bytes whatever is sent: empty messages have deadlocked other systems, and replicas that drift apart, a flipped bit or
a message of another step are found before anything is applied. Horovod's transport checks nothing (FACTS: one flipped
bit in 20 receives made more than half of all allreduces silently wrong).
"""

from typing import NamedTuple

import tensorflow as tf

from tfscale.compression.codecs import base

HEADER = 6
SKIP, PROPOSAL = 0, 4
_LOW = 0xFFFFFFFF
_QUARTERS, _ONE = 21, 4 * 127 - 128
"""A strain is a ratio's float exponent and two bits of its mantissa, so that 128 stands for 1."""


def _mix(words: tf.Tensor) -> tf.Tensor:
    """A permutation of 32-bit words (int64 in, int64 out), after Ellis' lowbias32."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, shift))
        words = tf.bitwise.bitwise_and(words * factor, _LOW)
    return tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, 16))


def checksum(message: tf.Tensor) -> tf.Tensor:
    """[M] int32, its own field left out -> [] int32. Any change within one word changes it."""
    words = base.from_int32(message)
    places = tf.range(1, tf.size(words, tf.int64) + 1)
    mixed = _mix(tf.bitwise.bitwise_and(words + tf.bitwise.bitwise_and(places * 0x9E3779B9, _LOW), _LOW))
    total = tf.reduce_sum(mixed[:5]) + tf.reduce_sum(mixed[HEADER:]) + tf.size(words, tf.int64)
    return base.to_int32(tf.bitwise.bitwise_and(total, _LOW))


def residual_ratio(peaks: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """[T] and [1] or [T] -> the largest |residual| in thresholds, in 8 bits, [] int32."""
    ratio = tf.reduce_max(tf.math.divide_no_nan(peaks, thresholds))
    return tf.clip_by_value(tf.bitwise.right_shift(tf.bitcast(ratio, tf.int32), _QUARTERS) - _ONE, 0, 255)


def ratio(residual_ratio: tf.Tensor) -> tf.Tensor:
    """What `strain` stands for, [] float32: between 2^-32 and 2^31.75 rounded down by at most a fifth."""
    return tf.bitcast(tf.bitwise.left_shift(residual_ratio + _ONE, _QUARTERS), tf.float32)


def format_of(message: tf.Tensor) -> tf.Tensor:
    """A code's number, VOID or OPENING, [] int32."""
    return tf.bitwise.bitwise_and(message[0], 0xFF)


def residual_ratio_of(message: tf.Tensor) -> tf.Tensor:
    """The message's strain, [] int32."""
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(message[0], 8), 0xFF)


def frame(number: int | tf.Tensor, header: tf.Tensor, count: tf.Tensor, payload: tf.Tensor) -> tf.Tensor:
    """A whole message.

    Args:
        number: Format.
        header: [4] int32: step, threshold, digest, strain.
        count: [] elements sent.
        payload: [P] int32.
    """
    step, threshold, digest, ratio_bits = tf.unstack(header)
    fields = tf.stack(
        [
            number + tf.bitwise.left_shift(ratio_bits, 8),
            step,
            threshold,
            tf.cast(count, tf.int32),
            digest,
            tf.constant(0),
        ]
    )
    message = tf.concat([fields, payload], axis=0)
    return tf.tensor_scatter_nd_update(message, [[5]], [checksum(message)])


def is_skip(message: tf.Tensor) -> tf.Tensor:
    """Whether the message asks to skip the step, [] bool."""
    return tf.equal(format_of(message), SKIP)


def threshold_word(thresholds: tf.Tensor) -> tf.Tensor:
    """[1] or [T] float32 -> the header's [] int32."""
    bits = tf.bitcast(thresholds, tf.int32)
    return bits[0] if thresholds.shape[0] == 1 else checksum(tf.concat([tf.zeros([HEADER], tf.int32), bits], axis=0))


class Frame(NamedTuple):
    """What a message must look like to be believed.

    Attributes:
        header: [2] int32: step, threshold.
        digest: [] int32, of the parameters.
        size: D.
        small: Elements that travel whole.
        proposals: [] int32, thresholds that it must propose.
    """

    header: tf.Tensor
    digest: tf.Tensor
    size: int
    dense_values: int
    proposals: tf.Tensor


def verify(message: tf.Tensor, rank: int, frame: Frame) -> tf.Tensor:
    """Returns the message; refuses what is damaged or not of this step.

    Args:
        message: [M] int32.
        rank: Whose it is.
        frame: What it must look like.

    Raises:
        tf.errors.InvalidArgumentError: It says what is wrong.
    """
    padded = tf.pad(message, [[0, tf.maximum(HEADER - tf.size(message), 0)]])
    opens, skip = tf.equal(format_of(padded), PROPOSAL), is_skip(padded)
    dense = HEADER + frame.dense_values + tf.where(opens, frame.proposals, 0)
    demands = (
        (tf.size(message) >= HEADER, "shorter than its header"),
        (tf.equal(padded[5], checksum(padded)), "its checksum is wrong"),
        (tf.equal(padded[1], frame.header[0]), "it is of another step"),
        (tf.equal(padded[2], frame.header[1]), "it has another threshold"),
        (tf.equal(padded[4], frame.digest), "its parameters differ from the others'"),
        (base.from_int32(padded[3:4])[0] <= frame.size, "more elements than the model has"),
        (skip | (tf.size(message) >= dense), "it is cut off"),
        (~skip | tf.equal(tf.size(message), HEADER), "an empty message with a payload"),
        (
            skip | tf.where(opens, _is_proposal(padded, dense, frame), tf.equal(frame.proposals, 0)),
            "it proposes thresholds where there are some, or none (or no usable ones) where there are none",
        ),
    )
    asserts = [
        tf.debugging.Assert(good, [f"tfscale: the message of rank {rank} is damaged: {what}; at step", frame.header[0]])
        for good, what in demands
    ]
    with tf.control_dependencies([each for each in asserts if each is not None]):
        return tf.identity(padded)


def _is_proposal(message: tf.Tensor, dense: tf.Tensor, frame: Frame) -> tf.Tensor:
    """Whether an opening has as many thresholds as are wanted, all >= 0 and below the bound of a contribution."""
    proposed = tf.bitcast(message[HEADER : HEADER + frame.proposals], tf.float32)
    good = tf.reduce_all((proposed >= 0) & (proposed < 2.0**63))
    return good & tf.equal(tf.size(message), dense) & (frame.proposals > 0) & tf.equal(message[3], 0)
