"""The majority vote."""

import pytest

from tfscale.majority import majority


@pytest.mark.parametrize(
    ("values", "winner"),
    [([4], 4), ([1, 2, 2], 2), ([2, 1, 1, 2], 2), ([1, 2], 1), ([b"b", b"a", b"b"], b"b"), ([3, 2, 1], 3)],
)
def test_the_most_frequent_value_wins_and_on_a_tie_the_first(values: list, winner: object) -> None:
    assert majority(values) == winner
