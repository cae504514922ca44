"""Every suite is a monoid: parts of the examples merge into the state of all, in any order and division.

Two of these were wrong in DeepLearning4j: its calibration merged the reliability bins and nothing else, and its
regression forgot a sum, so that R2 was another one after a merge.
"""

import json

import numpy as np
import pytest

from tests.support.scored import CASES, N, rows, state_of
from tfscale.evaluation.base import State, packed, unpacked

RANDOM = np.random.default_rng(11)


def assert_equal(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_there_are_cases_of_all_suites() -> None:
    assert {make().name for make, _ in CASES.values()} == {
        *("classification", "binary", "multilabel", "roc", "calibration", "regression")
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shards", [1, 2, 3, 5, N + 9])
def test_merged_shards_are_a_single_pass(case: str, shards: int) -> None:
    """With more shards than examples some are empty; of one example each, all are of one class."""
    suite, scored = CASES[case][0](), CASES[case][1]()
    whole = suite.of(scored)
    order = RANDOM.permutation(N)
    parts = [state_of(suite, rows(scored, part), batch=16) for part in np.array_split(order, shards)]
    total = suite.zero()
    for index in RANDOM.permutation(len(parts)):
        total = suite.merge(total, parts[index])
    assert_equal(total, whole)
    assert json.dumps(suite.figures(total)) == json.dumps(suite.figures(whole))


@pytest.mark.parametrize("case", CASES)
def test_shards_of_one_class_each_are_a_single_pass(case: str) -> None:
    """As sorted data are divided: the area under a curve of such a shard does not exist."""
    suite, scored = CASES[case][0](), CASES[case][1]()
    first = scored.targets.reshape(N, -1)[:, 0]
    middle = np.median(first)
    merged = suite.merge(*(suite.of(scored.only(chosen)) for chosen in (first <= middle, first > middle)))
    assert_equal(merged, suite.of(scored))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", [1, 16, 64, 1000])
def test_the_batch_changes_nothing(case: str, batch: int) -> None:
    suite, scored = CASES[case][0](), CASES[case][1]()
    assert_equal(state_of(suite, scored, batch=batch), suite.of(scored))


@pytest.mark.parametrize("case", CASES)
def test_merging_is_associative_and_zero_changes_nothing(case: str) -> None:
    suite, scored = CASES[case][0](), CASES[case][1]()
    a, b, c = (suite.of(rows(scored, part)) for part in np.array_split(np.arange(N), 3))
    assert_equal(suite.merge(suite.merge(a, b), c), suite.merge(a, suite.merge(b, c)))
    assert_equal(suite.merge(a, b), suite.merge(b, a))
    assert_equal(suite.merge(a, suite.zero()), a)
    assert_equal(suite.merge(suite.zero(), a), a)


@pytest.mark.parametrize("case", CASES)
def test_no_examples_give_null_with_a_reason(case: str) -> None:
    """A batch without an example was a null pointer in DeepLearning4j."""
    suite, scored = CASES[case][0](), CASES[case][1]()
    empty = suite.of(scored.only(np.zeros(N, bool)))
    assert_equal(empty, suite.zero())
    figures = suite.figures(empty)
    assert set(figures.get("undefined", figures.get("macro", {}).get("undefined", {})).values()) != set()
    assert "NaN" not in json.dumps(figures)


@pytest.mark.parametrize("case", CASES)
def test_a_state_travels_between_processes(case: str) -> None:
    suite, scored = CASES[case][0](), CASES[case][1]()
    states = {"kind\nroc\nall": suite.of(scored), "": suite.zero()}
    content = packed(states)
    assert len(content) % 4 == 0
    got = unpacked(content)
    assert got.keys() == states.keys()
    for key, state in states.items():
        assert_equal(got[key], state)


@pytest.mark.parametrize("case", CASES)
def test_the_state_of_many_examples_does_not_grow_where_it_holds_sums(case: str) -> None:
    """Only curves need the scores; rows of labels and pairs of classes are as many as there are different ones."""
    suite, make = CASES[case][0](), CASES[case][1]
    size = sum(each.nbytes for each in suite.of(make(count=4000)).values())
    assert size < 4000 * 10 * 28
    if case.startswith(("classification", "binary", "calibration")):
        assert size < 10_000
