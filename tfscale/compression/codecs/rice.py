"""The rice code: Golomb-Rice coded gaps between sparse elements, within 1.5 % of the entropy bound.

The list is cut into blocks of BLOCK elements. A gap g >= 0 (elements that are not sent between two that are; with
several levels, the difference of two indices, which is 0 where an element stands again) is divided by the block's
divisor m: the quotient is written in unary, the remainder and the sign in fixed bits. Powers of two alone, as in Rice's
code, would cost 2 % at some densities, so m may also be 3 times a power of two; the remainder's base-3 digit is then
written five to a byte.

Fixed and unary fields are in planes of their own, so both can be read without a chain from bit to bit: by vector
operations here, by arithmetic without tables in the kernel. Each plane starts on a word; blocks are in order, lowest
bit first:

    table      2 words a block: its first element as in word32; code << 24 | words of the unary plane
    low        (n - 1) fields of low bits << 1 | negative
    digits     ceil((n - 1) / 5) bytes, if m has a factor of 3
    unary      (n - 1) times quotient zeros and a one

Code 2k is m = 2^k, code 2k + 1 is m = 3 * 2^(k - 1). A block takes the first code whose divisor suits its mean gap.

References:
    Golomb 1966; Rice and Plaunt 1971. Strom 2015 proposes such a code for gaps and leaves it open.
"""

from typing import NamedTuple, final

import numpy as np
import tensorflow as tf

from tfscale.compression.codecs import base

BLOCK = 16384
"""Sparse elements of a block: some 100 bits of table and padding are then 0.15 % of a message at a density of 0.2."""

CODES = np.array([0, *range(2, 62)])
TRITS = 5
"""Base-3 digits of a byte."""

UP = (1866, 1665)
"""Mean gap (plus 1/2), in thousandths of the divisor, above which the next code is shorter; for even and odd codes."""


class _Plan(NamedTuple):
    """For each block: elements, code, and the words of its planes, [b] int64 each."""

    elements: tf.Tensor
    code: tf.Tensor
    low: tf.Tensor
    digits: tf.Tensor
    unary: tf.Tensor

    @property
    def has_digits(self) -> tf.Tensor:
        return self.code % 2

    @property
    def shift(self) -> tf.Tensor:
        return self.code // 2 - self.has_digits

    def starts(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """First words of the three planes of each block, and the length of all."""
        planes = tf.concat([self.low, self.digits, self.unary], axis=0)
        ends = 2 * tf.size(self.code, out_type=tf.int64) + tf.cumsum(planes)
        low, digits, unary = tf.split(ends - planes, 3)
        return low, digits, unary, tf.concat([[0], ends], axis=0)[-1]


def _counts(count: tf.Tensor) -> tf.Tensor:
    """n -> elements of each block [b]."""
    blocks = -(-count // BLOCK)
    return tf.minimum(count - tf.range(blocks) * BLOCK, BLOCK)


def _fixed_planes(count: tf.Tensor, code: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    width = code // 2 - code % 2 + 1
    octets = -(-(count - 1) // TRITS)
    return -(-(count - 1) * width // 32), tf.where(code % 2 == 1, -(-octets // 4), 0)


def _choose(span: tf.Tensor, gaps: tf.Tensor) -> tf.Tensor:
    """Sums of gaps [b], numbers of gaps [b] -> codes [b]."""
    divisors = np.where(CODES % 2, 3, 1) * 2.0 ** (CODES // 2 - CODES % 2)
    limits = tf.constant(
        [int(2 * divisor) * UP[code % 2] for code, divisor in zip(CODES, divisors, strict=True)], tf.int64
    )
    larger = ((2 * span + gaps) * 1000)[:, tf.newaxis] > gaps[:, tf.newaxis] * limits
    passed = tf.reduce_sum(tf.cast(larger, tf.int64), axis=1)
    return tf.gather(tf.constant(CODES, tf.int64), tf.minimum(passed, len(CODES) - 1))


class _Gaps(NamedTuple):
    """Gaps before all but the first element of each block: block, index in it, quotient, digit, low field."""

    block: tf.Tensor
    position: tf.Tensor
    quotient: tf.Tensor
    digit: tf.Tensor
    low: tf.Tensor


def _smallest_step(levels: int) -> int:
    """Returns the smallest difference between two indices of a list, of which a gap is the excess."""
    return 1 if levels == 1 else 0


def _analyse(elements: tf.Tensor, levels: int) -> tuple[_Plan, _Gaps]:
    count = tf.size(elements, out_type=tf.int64)
    counts = _counts(count)
    within = tf.range(count) % BLOCK
    later = tf.where(within > 0)[:, 0]
    block, position = later // BLOCK, tf.gather(within, later) - 1
    indices = elements // 2
    gap = tf.gather(indices, later) - tf.gather(indices, tf.maximum(later - 1, 0)) - _smallest_step(levels)
    blocks = tf.size(counts)
    code = _choose(tf.math.unsorted_segment_sum(gap, block, blocks), counts - 1)
    code_of_gap = tf.gather(code, block)
    shift = code_of_gap // 2 - code_of_gap % 2
    high = tf.bitwise.right_shift(gap, shift)
    quotient = tf.where(code_of_gap % 2 == 1, high // 3, high)
    low = tf.bitwise.bitwise_and(gap, tf.bitwise.left_shift(tf.ones_like(shift), shift) - 1)
    unary = -(-tf.math.unsorted_segment_sum(quotient + 1, block, blocks) // 32)
    gaps = _Gaps(block, position, quotient, high - 3 * quotient, low * 2 + tf.gather(elements, later) % 2)
    return _Plan(counts, code, *_fixed_planes(counts, code), unary), gaps


@final
class Rice:
    """Writes gaps; P is about (log2(1 / density) + 2.5) n / 32."""

    number = 3
    repeats = True

    def __init__(self) -> None:
        self.codes = (self,)

    def length(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[n] -> P; see `base.Code`."""
        return _analyse(elements, levels)[0].starts()[-1]

    def encode(self, elements: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[n] -> [P]; see `base.Code`."""
        plan, gaps = _analyse(elements, levels)
        low_at, digits_at, unary_at, length = plan.starts()
        width = tf.gather(plan.shift, gaps.block) + 1
        low = 32 * tf.gather(low_at, gaps.block) + gaps.position * width
        trit = 8 * (4 * tf.gather(digits_at, gaps.block) + gaps.position // TRITS)
        digit = gaps.digit * tf.gather(
            tf.constant([3**power for power in range(TRITS)], tf.int64), gaps.position % TRITS
        )
        has_digits = tf.gather(plan.has_digits, gaps.block)
        trit = tf.where(has_digits == 1, trit, 0)  # there is no such plane without digits
        # Running over all blocks, the sum of quotients and ones starts again at each.
        run = tf.cumsum(gaps.quotient + 1)
        before = tf.gather(
            tf.concat([[0], run], axis=0), tf.searchsorted(gaps.block, tf.range(tf.size(plan.code, tf.int64)))
        )
        unary = 32 * tf.gather(unary_at, gaps.block) + run - tf.gather(before, gaps.block) - 1
        first = tf.range(tf.size(plan.code, tf.int64))
        positions = tf.concat([low // 32, low // 32 + 1, trit // 32, unary // 32, 2 * first, 2 * first + 1], axis=0)
        field = tf.bitwise.left_shift(gaps.low, low % 32)
        parts = [
            tf.bitwise.bitwise_and(field, 0xFFFFFFFF),
            tf.bitwise.right_shift(field, 32),
            tf.where(has_digits == 1, tf.bitwise.left_shift(digit, trit % 32), 0),
            tf.bitwise.left_shift(tf.ones_like(unary), unary % 32),
            elements[::BLOCK],
            tf.bitwise.left_shift(plan.code, 24) + plan.unary,
        ]
        # A field that ends in its word adds nothing to the next, which may be none. Disjoint bits: sum is union.
        payload = tf.math.unsorted_segment_sum(tf.concat(parts, axis=0), positions, length + 1)
        return base.to_int32(payload[:-1])

    def decode(self, payload: tf.Tensor, count: tf.Tensor, size: int, levels: int = 1) -> tf.Tensor:
        """[P] -> [n]; see `base.Code`."""
        words = base.from_int32(payload)
        counts = _counts(count)
        blocks = tf.size(counts, out_type=tf.int64)
        base.check(tf.size(words, tf.int64) >= 2 * blocks, "a table that is cut off")
        table = tf.reshape(words[: 2 * blocks], [-1, 2])
        code, unary = tf.bitwise.right_shift(table[:, 1], 24), table[:, 1] % 2**24
        base.check(tf.reduce_all((code <= int(CODES[-1])) & tf.not_equal(code, 1)), "an unknown divisor")
        plan = _Plan(counts, code, *_fixed_planes(counts, code), unary)
        low_at, digits_at, unary_at, length = plan.starts()
        base.check(tf.equal(tf.size(words, tf.int64), length), "a length that its table does not explain")
        gaps = counts - 1
        block = tf.repeat(tf.range(blocks), gaps)
        position = tf.range(tf.reduce_sum(gaps)) - tf.gather(tf.cumsum(gaps, exclusive=True), block)
        quotient = _quotients(words, unary_at, length, block, position)
        shift = tf.gather(plan.shift, block)
        bit = 32 * tf.gather(low_at, block) + position * (shift + 1)
        ahead = tf.gather(tf.concat([words, [0]], axis=0), bit // 32 + 1)
        both = tf.gather(words, bit // 32) + tf.bitwise.left_shift(tf.bitwise.bitwise_and(ahead, 2**31 - 1), 32)
        field = tf.bitwise.right_shift(both, bit % 32)
        # The 64th bit was left out above, as it would be a sign; a field that ends there gets it back.
        field += tf.where(
            bit % 32 > 0, tf.bitwise.left_shift(tf.bitwise.right_shift(ahead, 31), 63 - bit % 32), tf.zeros_like(bit)
        )
        field = tf.bitwise.bitwise_and(field, tf.bitwise.left_shift(tf.ones_like(shift), shift + 1) - 1)
        has_digits = tf.gather(code, block) % 2 == 1
        trit = tf.where(has_digits, 8 * (4 * tf.gather(digits_at, block) + position // TRITS), 0)
        byte = tf.bitwise.right_shift(tf.gather(words, trit // 32), trit % 32) % 256
        digit = byte // tf.gather(tf.constant([3**power for power in range(TRITS)], tf.int64), position % TRITS) % 3
        high = tf.where(has_digits, 3 * quotient + digit, quotient)
        step = tf.bitwise.left_shift(high, shift) + field // 2 + _smallest_step(levels)
        elements = _elements(table[:, 0], counts, step, field % 2, block)
        good = base.ascend(elements, levels) & tf.reduce_all((elements >= 0) & (elements // 2 < size))
        base.check(good, "gaps that lead out of the model")
        return elements


def _quotients(
    words: tf.Tensor, unary_at: tf.Tensor, length: tf.Tensor, block: tf.Tensor, position: tf.Tensor
) -> tf.Tensor:
    """The distances between the ones of the unary planes, which are the last words."""
    start = tf.concat([unary_at, [length]], axis=0)[0]
    bits = tf.bitwise.right_shift(words[start:, tf.newaxis], tf.range(32, dtype=tf.int64)) % 2
    ones = 32 * start + tf.where(tf.reshape(bits, [-1]) > 0)[:, 0]
    base.check(tf.equal(tf.size(ones), tf.size(block)), "unary planes of other lengths")
    base.check(tf.reduce_all(ones >= 32 * tf.gather(unary_at, block)), "unary planes that run into each other")
    before = tf.where(
        position > 0, tf.concat([[0], ones[:-1]], axis=0)[: tf.size(ones)], 32 * tf.gather(unary_at, block) - 1
    )
    return ones - before - 1


def _elements(first: tf.Tensor, counts: tf.Tensor, step: tf.Tensor, negative: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
    """First elements [b] and the other elements' distances from the ones before -> the list, which is not checked."""
    run = tf.cumsum(step)
    starts = tf.cumsum(counts, exclusive=True)
    sums = tf.gather(tf.concat([[0], run], axis=0), tf.cumsum(counts - 1, exclusive=True))
    index = tf.gather(first // 2 - sums, block) + run
    later = tf.where(tf.range(tf.reduce_sum(counts)) % BLOCK > 0)
    elements = tf.scatter_nd(later, index * 2 + negative, [tf.reduce_sum(counts)])
    return tf.tensor_scatter_nd_update(elements, starts[:, tf.newaxis], first)
