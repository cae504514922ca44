"""Sums of floats without rounding, so that their order does not matter.

A float64 is a whole number of 2^-1126. A sum is kept as digits of 32 bits of that number, each in an int64: adding an
example adds to three digits, and merging two sums adds digits. A result is rounded once, from the exact sum. float64
sums, compensated or pairwise, differ with the number of processes in their last bits.

References:
    Neal, 2015, Fast exact summation using small and large superaccumulators; only the small one is needed here.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

DIGITS = 68
"""Digits of a sum: the largest float64 and 2^40 times it."""

BIAS = 1126
"""Exponent of the unit, negated: the mantissa 2^52 to 2^53 of the smallest float64 has it."""

_MASK = (1 << 32) - 1


def zeros(count: int) -> np.ndarray:
    """Returns so many sums that are 0, [count, DIGITS + 1] int64; the last column counts values that are not finite."""
    return np.zeros((count, DIGITS + 1), np.int64)


def of(columns: np.ndarray) -> np.ndarray:
    """Returns the sum of each column of [n, count], as `zeros` has it."""
    values = np.asarray(columns, np.float64)
    sums = zeros(values.shape[1])
    finite = np.isfinite(values)
    sums[:, DIGITS] = np.count_nonzero(~finite, axis=0)
    mantissas, exponents = np.frexp(np.where(finite, values, 0.0))
    whole = np.abs(mantissas * 2.0**53).astype(np.int64)
    sign = np.where(values < 0, -1, 1)
    place, shift = np.divmod(exponents.astype(np.int64) - 53 + BIAS, 32)
    low, high = (whole & _MASK) << shift, (whole >> 32) << shift
    column = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    for offset, digit in enumerate((low & _MASK, (low >> 32) + (high & _MASK), high >> 32)):
        np.add.at(sums, (column, place + offset), sign * digit)
    return _carried(sums)


def merged(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the sums of both."""
    return _carried(one + other)


def _carried(sums: np.ndarray) -> np.ndarray:
    """Returns the same sums with digits from 0 to 2^32 - 1, so that a sum has one form; the last digit has the sign."""
    for digit in range(DIGITS - 1):
        sums[:, digit + 1] += sums[:, digit] >> 32
        sums[:, digit] &= _MASK
    return sums


def fractions(sums: np.ndarray) -> Sequence[Fraction | None]:
    """Returns the exact sums; None where a value was not finite."""
    return [_fraction(row) for row in sums]


def _fraction(row: np.ndarray) -> Fraction | None:
    if row[DIGITS]:
        return None
    used = np.flatnonzero(row[:DIGITS])
    return Fraction(sum(int(row[digit]) << (32 * int(digit)) for digit in used), 1 << BIAS)
