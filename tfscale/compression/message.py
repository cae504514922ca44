"""The frame of a message: its header, and the checks that it must pass.

A message is an int32 vector of HEADER words and a payload, in 32-bit fields:

    0  format, in the low 8 bits: a code's number, SKIP (this replica's contribution is not usable: all skip the step)
       or PROPOSAL (the thresholds are uninitialized: the payload proposes them); residual ratio << 8; number of steps
       << 16 that this replica has skipped alone
    1  step: optimizer steps completed before those that it is of
    2  threshold: its float bits, or, with one a tensor, the checksum of all
    3  count: sparse elements, each as often as it is sent
    4  digest of the parameters that the contribution was computed with
    5  checksum of everything else

and ends with the float32 bits of the dense values. A message has a header even if it sends no element: empty messages
have deadlocked other systems. The header also shows replicas that drift apart, damage in transit, and messages of
another step, before anything is applied. Gloo, Horovod's transport, checks nothing: with one bit flipped in every
twentieth receive, more than half of all allreduces gave a wrong result and no error.
"""

from typing import NamedTuple

import tensorflow as tf

from tfscale.compression.codecs import base

HEADER = 6
"""Words of a header."""

COUNT, DIGEST, CHECKSUM = 3, 4, 5
"""Words of a header by their places."""

MOST_SKIPPED = 2**15 - 1
"""Largest number of skipped steps that a message can tell."""

SKIP, PROPOSAL = 0, 4
"""Formats that are no code's."""

_LOW = 0xFFFFFFFF
_QUARTERS, _ONE = 21, 4 * 127 - 128
"""A residual ratio has a float's exponent and two bits of its mantissa, so that 128 stands for 1."""


def _mix(words: tf.Tensor) -> tf.Tensor:
    """A permutation of 32-bit words (int64 in, int64 out), after Ellis' lowbias32."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, shift))
        words = tf.bitwise.bitwise_and(words * factor, _LOW)
    return tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, 16))


def checksum(message: tf.Tensor) -> tf.Tensor:
    """Checksum of a message [M], its own field left out, [] int32. Any change within one word changes it."""
    words = base.from_int32(message)
    salts = tf.bitwise.bitwise_and(tf.range(1, tf.size(words, tf.int64) + 1) * 0x9E3779B9, _LOW)
    mixed = _mix(tf.bitwise.bitwise_and(words + salts, _LOW))
    total = tf.reduce_sum(mixed[:CHECKSUM]) + tf.reduce_sum(mixed[HEADER:]) + tf.size(words, tf.int64)
    return base.to_int32(tf.bitwise.bitwise_and(total, _LOW))


def residual_ratio(peaks: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """Largest |residual| / threshold in 8 bits, [] int32; of peaks [T] and thresholds [1] or [T]."""
    ratio = tf.reduce_max(tf.math.divide_no_nan(peaks, thresholds))
    return tf.clip_by_value(tf.bitwise.right_shift(tf.bitcast(ratio, tf.int32), _QUARTERS) - _ONE, 0, 255)


def ratio(residual_ratio: tf.Tensor) -> tf.Tensor:
    """The ratio that 8 bits stand for, [] float32: 2^-32 to 2^31.75, rounded down by at most a fifth."""
    return tf.bitcast(tf.bitwise.left_shift(residual_ratio + _ONE, _QUARTERS), tf.float32)


def format_of(message: tf.Tensor) -> tf.Tensor:
    """A code's number, SKIP or PROPOSAL, [] int32."""
    return tf.bitwise.bitwise_and(message[0], 0xFF)


def residual_ratio_of(message: tf.Tensor) -> tf.Tensor:
    """The message's residual ratio in 8 bits, [] int32."""
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(message[0], 8), 0xFF)


def skipped_of(message: tf.Tensor) -> tf.Tensor:
    """Number of steps that a message's replica has skipped alone, [] int64."""
    return tf.cast(tf.bitwise.right_shift(message[0], 16), tf.int64)


def ratio_and_skipped(ratio_bits: tf.Tensor, skipped: tf.Tensor) -> tf.Tensor:
    """The last field of a header, [] int32: a residual ratio in 8 bits, [] int32, and skipped steps, [] int64."""
    return ratio_bits + tf.bitwise.left_shift(tf.cast(tf.minimum(skipped, MOST_SKIPPED), tf.int32), 8)


def frame(number: int, header: tf.Tensor, count: tf.Tensor, payload: tf.Tensor) -> tf.Tensor:
    """A message [HEADER + P].

    Args:
        number: Format.
        header: [4] int32: step, threshold, digest, residual ratio and skipped steps.
        count: [] int32, sparse elements.
        payload: [P] int32.
    """
    step, threshold, digest, ratio_bits = tf.unstack(header)
    first = number + tf.bitwise.left_shift(ratio_bits, 8)
    fields = tf.stack([first, step, threshold, tf.cast(count, tf.int32), digest, tf.constant(0)])
    message = tf.concat([fields, payload], axis=0)
    return tf.tensor_scatter_nd_update(message, [[CHECKSUM]], [checksum(message)])


def is_skip(message: tf.Tensor) -> tf.Tensor:
    """True if the message asks to skip the step, [] bool."""
    return tf.equal(format_of(message), SKIP)


def threshold_word(thresholds: tf.Tensor) -> tf.Tensor:
    """[1] or [T] float32 -> the header's [] int32."""
    bits = tf.bitcast(thresholds, tf.int32)
    return bits[0] if thresholds.shape[0] == 1 else checksum(tf.concat([tf.zeros([HEADER], tf.int32), bits], axis=0))


class Frame(NamedTuple):
    """The values that a message of this step must have.

    Attributes:
        header: [2] int32: step, threshold.
        digest: [] int32, of the parameters.
        size: D * L, the most elements that it can list.
        dense_values: F.
        proposals: [] int32, number of thresholds that it must propose.
    """

    header: tf.Tensor
    digest: tf.Tensor
    size: int
    dense_values: int
    proposals: tf.Tensor


def verify(message: tf.Tensor, rank: int, frame: Frame) -> tf.Tensor:
    """Returns a message [M] int32 once it has passed all checks.

    Args:
        message: Message to check.
        rank: Its sender.
        frame: Values that it must have.

    Raises:
        tf.errors.InvalidArgumentError: The message is damaged or not of this step.
    """
    padded = tf.pad(message, [[0, tf.maximum(HEADER - tf.size(message), 0)]])
    proposes, skip = tf.equal(format_of(padded), PROPOSAL), is_skip(padded)
    shortest = HEADER + frame.dense_values + tf.where(proposes, frame.proposals, 0)
    demands = (
        (tf.size(message) >= HEADER, "shorter than its header"),
        (tf.equal(padded[CHECKSUM], checksum(padded)), "its checksum is wrong"),
        (tf.equal(padded[1], frame.header[0]), "it is of another step"),
        (tf.equal(padded[2], frame.header[1]), "it has another threshold"),
        (tf.equal(padded[DIGEST], frame.digest), "its parameters differ from the others'"),
        (base.from_int32(padded[COUNT : COUNT + 1])[0] <= frame.size, "more elements than the model has"),
        (skip | (tf.size(message) >= shortest), "it is cut off"),
        (~skip | tf.equal(tf.size(message), HEADER), "a skip message with a payload"),
        (
            skip | tf.where(proposes, _is_proposal(padded, shortest, frame), tf.equal(frame.proposals, 0)),
            "it proposes thresholds that are initialized, or no usable ones where they are not",
        ),
    )
    asserts = [
        tf.debugging.Assert(good, [f"tfscale: the message of rank {rank} is damaged: {what}; at step", frame.header[0]])
        for good, what in demands
    ]
    with tf.control_dependencies([each for each in asserts if each is not None]):
        return tf.identity(padded)


def _is_proposal(message: tf.Tensor, length: tf.Tensor, frame: Frame) -> tf.Tensor:
    """True if a message of this length proposes the wanted number of thresholds, all >= 0 and usable."""
    proposed = tf.bitcast(message[HEADER : HEADER + frame.proposals], tf.float32)
    good = tf.reduce_all((proposed >= 0) & (proposed < 2.0**63))
    return good & tf.equal(tf.size(message), length) & (frame.proposals > 0) & tf.equal(message[COUNT], 0)
