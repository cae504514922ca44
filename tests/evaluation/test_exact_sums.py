"""Sums of floats are exact: nothing is lost, in any order."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tfscale.evaluation import exact_sums

RANDOM = np.random.default_rng(7)
COLUMNS = {
    "small": RANDOM.normal(size=400),
    "every scale": RANDOM.choice([-1, 1], 400) * 2.0 ** RANDOM.uniform(-1074, 1020, 400),
    "cancelling": np.concatenate([values := RANDOM.normal(size=200) * 1e12, -values, [1e-300]]),
    "subnormal": np.full(99, 5e-324),
    "largest": np.full(9, np.finfo(np.float64).max),
    "negative": -RANDOM.random(100),
    "zeros": np.array([0.0, -0.0]),
    "none": np.zeros(0),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_sum_is_exact(name: str) -> None:
    values = COLUMNS[name]
    (got,) = exact_sums.fractions(exact_sums.of(values[:, np.newaxis]))
    assert got == sum(map(Fraction, values), Fraction(0))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_sum_has_the_same_digits_in_any_order_and_division(name: str) -> None:
    values = COLUMNS[name]
    whole = exact_sums.of(values[:, np.newaxis])
    for parts in (1, 2, 7):
        total = exact_sums.zeros(1)
        for part in np.array_split(RANDOM.permutation(values), parts):
            total = exact_sums.merged(exact_sums.of(part[:, np.newaxis]), total)
        np.testing.assert_array_equal(total, whole)


def test_columns_are_summed_each_by_itself() -> None:
    values = RANDOM.normal(size=(50, 3))
    got = [float(each or 0) for each in exact_sums.fractions(exact_sums.of(values))]
    assert got == [math.fsum(column) for column in values.T]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_known_in_the_sum_of_its_column_alone(value: float) -> None:
    sums = exact_sums.of(np.array([[1.0, 2.0], [value, 3.0]]))
    assert exact_sums.fractions(exact_sums.merged(sums, exact_sums.of(np.ones((1, 2))))) == [None, 6]
