"""Batches: every example once an epoch, in an order that depends neither on W nor on where reading starts."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tfscale.data import pipeline
from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Batch, Shard, Split
from tfscale.data.pipeline import IndexedData
from tfscale.errors import UserError

N = 203


@pytest.fixture
def data() -> IndexedData:
    x = np.arange(N, dtype=np.uint8).reshape(N, 1)
    return IndexedData(source_of(Arrays(x, np.arange(N) % 10, x[:101], np.arange(101) % 10, 1.0, 10)))


def batches(
    data: IndexedData, shard: Shard, *, batch: int, count: int, seed: int = 7, start: int = 0
) -> list[tuple[list[int], list[float]]]:
    feed = data.train(shard, batch=batch, seed=seed, start=start, prefetch=2)
    return [
        (x.numpy()[:, 0].astype(int).tolist(), weight.numpy().tolist())
        for x, _, weight in itertools.islice(feed, count)
    ]


def test_nothing_is_left_to_a_thread_for_which_the_end_of_a_run_would_wait(data: IndexedData) -> None:
    for feed in (
        data.train(Shard(0, 2), batch=8, seed=7, start=0, prefetch=2),
        data.evaluate(Split.TEST, Shard(0, 2), batch=8),
    ):
        assert isinstance(feed.batches, tf.data.Dataset)
        assert feed.batches.options().autotune.enabled is False


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_an_epoch_has_every_example_once(data: IndexedData, size: int) -> None:
    steps = -(-N // (8 * size))
    seen = [
        example
        for rank in range(size)
        for xs, weights in batches(data, Shard(rank, size), batch=8, count=steps)
        for example, weight in zip(xs, weights, strict=True)
        if weight > 0
    ]
    assert sorted(seen) == list(range(N))


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_the_examples_of_a_step_do_not_depend_on_the_number_of_replicas(data: IndexedData, size: int) -> None:
    whole = batches(data, Shard(0, 1), batch=24, count=20)
    parts = [batches(data, Shard(rank, size), batch=24 // size, count=20) for rank in range(size)]
    for step in range(20):
        assert [example for part in parts for example in part[step][0]] == whole[step][0]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_weights_make_the_plain_mean_over_replicas_the_mean_over_examples(data: IndexedData, size: int) -> None:
    batch = 8
    steps = -(-N // (batch * size))
    parts = [batches(data, Shard(rank, size), batch=batch, count=steps) for rank in range(size)]
    ragged = [part[-1] for part in parts]
    counted = [(x, w) for xs, ws in ragged for x, w in zip(xs, ws, strict=True) if w > 0]
    assert len(counted) == N - (steps - 1) * batch * size < batch * size, "the last batch must be a ragged one"
    got = np.mean([np.dot(xs, ws) / batch for xs, ws in ragged])
    assert got == pytest.approx(np.mean([x for x, _ in counted]))


def test_a_replica_left_without_an_example_weighs_nothing() -> None:
    x = np.arange(9, dtype=np.uint8).reshape(9, 1)
    tiny = IndexedData(source_of(Arrays(x, np.zeros(9, int), x, np.zeros(9, int), 1.0, 10)))
    parts = [batches(tiny, Shard(rank, 4), batch=2, count=2)[1] for rank in range(4)]
    assert sorted(sum(weights) for _, weights in parts) == [0, 0, 0, 8]


def test_any_step_can_be_the_first(data: IndexedData) -> None:
    whole = batches(data, Shard(1, 2), batch=8, count=40)
    assert batches(data, Shard(1, 2), batch=8, count=17, start=23) == whole[23:]


def test_epochs_and_seeds_have_orders_of_their_own(data: IndexedData) -> None:
    steps = -(-N // 8)
    feed = batches(data, Shard(0, 1), batch=8, count=2 * steps)
    first, second = feed[:steps], feed[steps:]
    assert first != second
    assert first != batches(data, Shard(0, 1), batch=8, count=steps, seed=8)
    assert first == batches(data, Shard(0, 1), batch=8, count=steps)


def test_the_order_is_a_good_shuffle(data: IndexedData) -> None:
    order = [x for xs, _ in batches(data, Shard(0, 1), batch=N, count=1) for x in xs]
    assert abs(np.corrcoef(order, np.arange(N))[0, 1]) < 0.2
    assert sum(b - a == 1 for a, b in itertools.pairwise(order)) < 8


def test_ids_stay_whole_numbers_and_measurements_become_scaled_floats() -> None:
    x, y = np.array([[3], [250]], np.uint8), np.array([0, 1])
    for vocabulary, dtype, wanted in ((251, np.int32, [3, 250]), (None, np.float32, [1.5, 125])):
        both = IndexedData(source_of(Arrays(x, y, x, y, 0.5, 2, vocabulary)))
        assert both.spec.x.categories == vocabulary
        trained, _, _ = next(iter(both.train(Shard(0, 1), batch=2, seed=7, start=0, prefetch=1)))
        (tested,) = (x for x, *_ in both.evaluate(Split.TEST, Shard(0, 1), batch=2))
        assert trained.dtype == tested.dtype == dtype
        assert sorted(trained.numpy()[:, 0]) == tested.numpy()[:, 0].tolist() == wanted


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_evaluation_counts_every_example_once(data: IndexedData, size: int) -> None:
    seen = [
        int(example)
        for rank in range(size)
        for x, *_ in data.evaluate(Split.TEST, Shard(rank, size), batch=10)
        for example in x.numpy()[:, 0]
    ]
    assert seen == list(range(101))


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
def test_the_order_is_that_of_index_shuffle_for_seed_and_epoch(data: IndexedData, seed: int) -> None:
    steps = -(-N // 8)
    seen = [x for xs, _ in batches(data, Shard(0, 1), batch=8, count=3 * steps, seed=seed) for x in xs]
    wanted = [
        tf.random.experimental.index_shuffle(
            tf.range(N, dtype=tf.int64), seed=tf.constant([seed, epoch], tf.int64), max_index=N - 1
        ).numpy()
        for epoch in range(3)
    ]
    assert seen == np.concatenate(wanted).tolist()


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("batch", [3, 8, 300])
def test_batches_do_not_depend_on_the_number_of_steps_that_are_read_at_once(
    data: IndexedData, monkeypatch: pytest.MonkeyPatch, size: int, batch: int
) -> None:
    taken = {"batch": batch, "count": 40, "start": 5}
    several = batches(data, Shard(size - 1, size), **taken)
    assert data._steps_at_once(batch) > 1
    monkeypatch.setattr(pipeline, "_INDICES", 1)
    assert data._steps_at_once(batch) == 1
    assert batches(data, Shard(size - 1, size), **taken) == several


def test_an_example_of_a_later_step_that_cannot_be_read_is_named_when_it_was_read_at_once(data: IndexedData) -> None:
    class Broken:
        is_slow = False

        def __len__(self) -> int:
            return N

        def read(self, indices: tf.Tensor) -> Batch:
            with tf.control_dependencies([tf.debugging.assert_none_equal(indices, tf.constant(17, tf.int64))]):
                x = tf.cast(indices[:, tf.newaxis], tf.uint8)
            return x, indices % 10, tf.ones(tf.shape(indices))

        def name(self, index: int) -> str:
            return f"thing {index}"

        def targets(self) -> None:
            return None

    broken = IndexedData(replace(data._source, examples={Split.TRAIN: Broken()}))
    with pytest.raises(UserError, match=r"data: thing 17 cannot be read"):
        next(iter(broken.train(Shard(0, 1), batch=8, seed=7, start=0, prefetch=2)))
    assert 17 not in batches(data, Shard(0, 1), batch=8, count=1)[0][0], "it is not of the first step"
