"""Held-out examples: no example in two splits, the same at every W, and classes in proportion on request."""

import itertools

import numpy as np
import pytest

from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Shard, Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.splits import Held, hold_out
from tfscale.errors import UserError

N = 200
X = np.arange(N, dtype=np.int64)[:, None]
Y = (np.arange(N) % 10 == 0).astype(np.int64)


def held(**changes: object) -> Held:
    values = {"validation": None, "test": None, "stratify": False, "seed": 0}
    return Held(**{**values, **changes})  # pyright: ignore[reportArgumentType]


def examples(source: Source, split: Split, size: int = 1) -> list[int]:
    data = IndexedData(source)
    return [
        int(each)
        for rank in range(size)
        for x, *_ in data.evaluate(split, Shard(rank, size), batch=16)
        for each in x.numpy()[:, 0]
    ]


def test_without_fractions_nothing_changes() -> None:
    source = source_of(Arrays(X, Y))
    assert hold_out(source, held()) is source


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_example_is_in_one_split_at_every_w(size: int) -> None:
    source = hold_out(source_of(Arrays(X, Y)), held(validation=0.2, test=0.1))
    parts = {split: examples(source, split, size) for split in Split}
    assert {split: len(part) for split, part in parts.items()} == {
        Split.TRAIN: 140,
        Split.VALIDATION: 40,
        Split.TEST: 20,
    }
    assert sorted(itertools.chain.from_iterable(parts.values())) == list(range(N))
    assert parts == {split: examples(source, split) for split in Split}


def test_the_split_has_a_seed_of_its_own_and_is_part_of_the_digest() -> None:
    source = source_of(Arrays(X, Y))
    first, again, other = (hold_out(source, held(validation=0.2, seed=seed)) for seed in (0, 0, 1))
    assert examples(first, Split.VALIDATION) == examples(again, Split.VALIDATION) != examples(other, Split.VALIDATION)
    assert first.digest == again.digest
    assert len({source.digest, first.digest, other.digest}) == 3


@pytest.mark.parametrize("y", [Y, Y[:, None], np.eye(2)[Y], np.array(["no", "yes"])[Y]])
def test_stratified_splits_have_each_class_in_its_share(y: np.ndarray) -> None:
    source = hold_out(source_of(Arrays(X, y)), held(validation=0.1, test=0.1, stratify=True))
    for split, size in ((Split.VALIDATION, 20), (Split.TEST, 20), (Split.TRAIN, 160)):
        part = examples(source, split)
        assert (len(part), sum(each % 10 == 0 for each in part)) == (size, size // 10)


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        (Arrays(X, Y, X[:5], Y[:5]), {"test": 0.1}, "data.test must be null, as the data have test examples of their"),
        (
            Arrays(X, Y, x_validation=X, y_validation=Y),
            {"validation": 0.1},
            "data.validation must be null, as the data",
        ),
        (Arrays(X[:3], Y[:3]), {"validation": 0.1}, r"data.validation must leave training examples .*, got 0 of 3"),
        (Arrays(X, Y / 3), {"validation": 0.1, "stratify": True}, "data.stratify=true must have one class"),
        (Arrays(X, None), {"validation": 0.1, "stratify": True}, "data.stratify=true must have one class"),
        (Arrays(X, (X[:, 0] == 7)), {"validation": 0.1, "stratify": True}, "data.stratify=true is not possible: The"),
    ],
)
def test_splits_that_are_not_possible_are_refused(arrays: Arrays, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hold_out(source_of(arrays), held(**changes))
