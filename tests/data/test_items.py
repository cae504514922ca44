"""Examples of objects that give a dictionary for an index, here a list: each arrives once, and odd ones are named."""

from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from tests.support.batches import examples, same, steps
from tfscale.data.base import Shard, Source, Split
from tfscale.data.items import column, source_of_items
from tfscale.data.pipeline import IndexedData
from tfscale.errors import UserError

N = 23


def item(number: int, **changes: object) -> dict[str, object]:
    return {"image": np.full((2, 2, 1), number, np.uint8), "size": number / 2, "label": number % 3, **changes}


ITEMS = [item(number) for number in range(N)]


def read(items: list[dict[str, object]] = ITEMS, inputs: object = "image", **changes: object) -> Source:
    parts = {Split.TRAIN: items, Split.TEST: items[:5]}
    values: Mapping[str, object] = {"label": "label", "vocabulary": None, **changes}
    label = values["label"]
    targets = {} if label is None else {split: column(each, str(label)) for split, each in parts.items()}
    return source_of_items(parts, where="a list", inputs=inputs, targets=targets, **values)  # pyright: ignore


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_item_once_with_its_target(size: int) -> None:
    data = IndexedData(read())
    taken = examples(steps(data, size, batch=2, count=-(-N // (2 * size))))
    assert sorted(round(float(x.max()) * 255) for x, _ in taken) == list(range(N))
    assert all(round(float(x.max()) * 255) % 3 == y for x, y in taken)
    shards = [Shard(rank, size) for rank in range(size)]
    tested = [x for shard in shards for xs, *_ in data.evaluate(Split.TEST, shard, batch=2) for x in xs]
    assert len(tested) == 5


def test_any_step_can_be_the_first_and_the_digest_is_one() -> None:
    data, again = IndexedData(read()), IndexedData(read())
    assert data.digest == again.digest
    whole = steps(data, 3, batch=2, count=12)
    for start in (1, 4, 7):
        assert same(steps(again, 3, batch=2, count=12 - start, start=start), whole[start:])
    assert read([*ITEMS[:3], item(3, label=1), *ITEMS[4:]]).digest != data.digest
    assert read([item(9, label=0), *ITEMS[1:]]).digest != data.digest


def test_several_inputs_are_named_by_their_keys() -> None:
    source = read(inputs=["image", "size"])
    assert {key: each.shape for key, each in source.spec.x.items()} == {"image": (2, 2, 1), "size": (1,)}  # pyright: ignore
    x, y, _ = source.examples[Split.TRAIN].read(tf.constant([4, 1], tf.int64))
    assert (x["size"].numpy().tolist(), y.numpy().tolist()) == ([[2.0], [0.5]], [1, 1])


def test_targets_may_be_measurements_classes_with_names_or_none() -> None:
    assert read(label="size", inputs="image").spec.y.categories is None  # pyright: ignore
    assert read(class_names=["a", "b", "c", "d"]).spec.y.names == ("a", "b", "c", "d")  # pyright: ignore
    assert read(label=None).spec.y is None
    with pytest.raises(UserError, match=r"y must be from 0 to 1 \(classes=2\), got 0 to 2"):
        read(class_names=["a", "b"])


def test_ids_are_below_the_vocabulary() -> None:
    rows = [{"ids": np.array([number, 1]), "label": 0} for number in range(5)]
    assert read(rows, inputs=None, vocabulary=5).spec.x.categories == 5  # pyright: ignore
    data = IndexedData(read(rows, inputs=None, vocabulary=4))
    with pytest.raises(UserError, match="ids must be from 0 to 3, got 1 to 4"):
        steps(data, 1, batch=5, count=1)


def test_an_item_that_is_not_like_the_first_is_named() -> None:
    for odd in (np.zeros((3, 2, 1), np.uint8), np.zeros((2, 2, 1))):
        data = IndexedData(read([*ITEMS[:7], item(7, image=odd), *ITEMS[8:]]))
        with pytest.raises(
            UserError, match=r"data: training example 7 of a list cannot be read: .* like the first one"
        ):
            steps(data, 1, batch=N, count=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": None}, r"data.inputs must name the inputs of a list, which has image, size, label; type data.inp"),
        ({"inputs": "picture"}, r"data.inputs must name a key of a list \(image, size, label\), got picture"),
        ({"items": [{"text": "a", "label": 0}] * 6, "inputs": None}, "the input text must hold real numbers"),
        ({"items": []}, "a list must have training examples, got none"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict, message: str) -> None:
    if changes.get("items") == []:
        changes = {**changes, "label": None}
    with pytest.raises(UserError, match=message):
        read(**changes)
