"""Functions that return a dataset: its examples arrive once an epoch in its order, from any step on."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.batches import examples, same, steps
from tests.support.in_place import parameters, run
from tfscale.config import preflight
from tfscale.data.base import Shard, Split
from tfscale.data.sequential import SequentialData
from tfscale.data.sources import python as functions
from tfscale.errors import UserError
from tfscale.job.build import Job

N = 23
SIZES = {"train": N, "validation": 7, "test": 5}


def numbers(split: str, epoch: int) -> tf.data.Dataset:
    """x is the example's number, and shuffled by the epoch; y is its class."""
    x = np.arange(SIZES[split], dtype=np.float32)[:, None]
    dataset = tf.data.Dataset.from_tensor_slices((x, (x[:, 0] % 3).astype(np.int64)))
    return dataset.shuffle(50, seed=epoch, reshuffle_each_iteration=False)


def read(function: Callable[..., object], **changes: object) -> SequentialData:
    values = {"examples": None, "vocabulary": None, "arguments": {}, **changes}
    functions.check(function="module.function", **values)  # pyright: ignore[reportArgumentType]
    return functions.python(function=function, **values)  # pyright: ignore[reportArgumentType]


def of(*parts: object, count: int = 4) -> Callable[[], tf.data.Dataset]:
    """A function whose dataset has the same example several times."""
    element = parts if len(parts) > 1 else parts[0]
    return lambda: tf.data.Dataset.from_tensors(element).repeat(count)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_example_once_in_the_datasets_order(size: int) -> None:
    data = read(numbers)
    count = -(-N // (2 * size))
    taken = steps(data, size, batch=2, count=2 * count)
    for epoch in range(2):
        got = examples(taken[epoch * count : (epoch + 1) * count])
        order = [x.item() for x, _ in numbers("train", epoch).as_numpy_iterator()]
        assert [x.item() for x, _ in got] == order
        assert all(y == x % 3 for x, y in got)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_weights_make_the_plain_mean_over_replicas_the_mean_over_examples(size: int) -> None:
    last = steps(read(numbers), size, batch=4, count=-(-N // (4 * size)))[-1]
    x = np.concatenate([xs[weights > 0, 0] for xs, _, weights in last])
    got = np.mean([np.dot(xs[:, 0], weights) / 4 for xs, _, weights in last])
    assert len(x) < 4 * size, "the last batch must be a ragged one"
    assert got == pytest.approx(x.mean())


def test_a_replica_left_without_an_example_weighs_nothing() -> None:
    (_, last) = steps(read(of([1.0], 2.5, count=9)), 4, batch=2, count=2)
    assert sorted(weights.sum() for *_, weights in last) == [0, 0, 0, 8]
    assert all(np.isfinite(weights).all() for *_, weights in last)


def test_any_step_can_be_the_first_and_the_digest_is_one() -> None:
    data, again = read(numbers), read(numbers)
    assert data.digest == again.digest
    whole = steps(data, 3, batch=2, count=20)
    for start in (1, 3, 4, 11):
        assert same(steps(again, 3, batch=2, count=20 - start, start=start), whole[start:])
    assert "read in sequence: a resumed run reads" in data.warnings[0]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_evaluation_counts_every_example_once(size: int) -> None:
    data = read(numbers)
    assert data.sizes == {Split.TRAIN: N, Split.VALIDATION: 7, Split.TEST: 5}
    for split, count in ((Split.VALIDATION, 7), (Split.TEST, 5)):
        seen = [
            int(x) for r in range(size) for xs, *_ in data.evaluate(split, Shard(r, size), batch=2) for x in xs[:, 0]
        ]
        assert sorted(seen) == list(range(count))


def test_the_function_gets_what_it_takes() -> None:
    calls = []

    def own(split: str, seed: int, wide: int) -> tf.data.Dataset | None:
        calls.append((split, seed))
        return of(np.zeros(wide), 1.5)() if split == "train" else None

    data = read(own, arguments={"wide": 3})
    assert data.sizes == {Split.TRAIN: 4}
    assert data.spec.x.shape == (3,)  # pyright: ignore
    steps(data, 1, batch=4, count=1, seed=9)
    assert calls[-1] == ("train", 9)
    with pytest.raises(UserError, match=r"data.arguments must not have seed, which tfscale gives itself"):
        read(own, arguments={"seed": 3})


def test_the_digest_knows_count_first_and_last_examples() -> None:
    def ends(count: int, first: float, last: float) -> str:
        x = np.arange(count, dtype=np.float32)[:, None]
        x[0], x[-1] = first, last
        return read(lambda: tf.data.Dataset.from_tensor_slices((x, x[:, 0] * 0.5))).digest

    assert len({ends(40, 0, 1), ends(41, 0, 1), ends(40, 5, 1), ends(40, 0, 5)}) == 4
    assert ends(40, 0, 1) == ends(40, 0, 1)


def test_examples_ends_an_epoch_of_an_endless_dataset() -> None:
    data = read(lambda: numbers("train", 0).repeat(), examples=10)
    assert data.sizes[Split.TRAIN] == 10
    order = [x.item() for x, _ in numbers("train", 0).take(10).as_numpy_iterator()]
    assert [x.item() for x, _ in examples(steps(data, 1, batch=5, count=4))] == order * 2
    with pytest.raises(UserError, match=r"data.examples must be at most the number of training examples, 23, got 24"):
        read(numbers, examples=24)


@pytest.mark.parametrize("named", [True, False])
def test_inputs_and_targets_may_have_parts_and_examples_weights(named: bool) -> None:
    x, y = {"a": [1.0, 2.0], "b": [3.0]}, {"kind": "cat", "size": 2.5}
    data = read(of({"x": x, "y": y, "weight": 3.0}) if named else of(x, y, 3.0))
    assert data.spec.weighted
    assert {key: each.shape for key, each in data.spec.x.items()} == {"a": (2,), "b": (1,)}  # pyright: ignore
    assert data.spec.y["kind"].names == ("cat",)  # pyright: ignore
    parts, targets, weight = next(iter(data.train(Shard(0, 1), batch=4, seed=0, start=0, prefetch=1)))
    assert parts["a"].shape == (4, 2)
    assert (targets["kind"].numpy().tolist(), weight.numpy().tolist()) == ([0] * 4, [3] * 4)


def test_class_names_become_numbers_bytes_are_scaled_and_ids_stay() -> None:
    names = tf.data.Dataset.from_tensor_slices(([[0], [255], [51]], ["b", "a", "b"]))
    data = read(lambda: names.map(lambda x, y: (tf.cast(x, tf.uint8), y)))
    assert data.spec.y.names == ("a", "b")  # pyright: ignore
    ((x, y, _),) = steps(data, 1, batch=3, count=1)[0]
    assert (x[:, 0].tolist(), y.tolist()) == ([0, 1, pytest.approx(0.2)], [1, 0, 1])
    ids = read(lambda: names, vocabulary=256)
    ((x, *_),) = steps(ids, 1, batch=3, count=1)[0]
    assert (x.dtype, x[:, 0].tolist()) == (np.int32, [0, 255, 51])
    with pytest.raises(UserError, match=r"must be from 0 to 9 \(vocabulary=10\), got 0 to 255"):
        read(lambda: names, vocabulary=10)


def test_examples_without_targets_are_for_reconstruction() -> None:
    assert read(of([1.0, 2.0])).spec.y is None
    assert read(of({"x": [1.0, 2.0]})).spec.y is None


def uneven() -> tf.data.Dataset:
    return tf.data.Dataset.from_generator(
        lambda: ((np.zeros(2 + (n == 6), np.float32), 0) for n in range(8)),
        output_signature=(tf.TensorSpec([None]), tf.TensorSpec([], tf.int32)),
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: 3, "data.function must return a tf.data.Dataset, got int; return one"),
        (lambda: None, "data.function must return a tf.data.Dataset, got NoneType"),
        (of([1.0], 0, 1.0, 2), r"must give \(x, y\) or \(x, y, weight\), got 4 parts"),
        (of({"x": [1.0], "z": 2}), "must give the keys x, y and weight, got z"),
        (of({"x": {"a": {"b": [1.0]}}}), "must give tensors, or a dictionary or tuple of them, as x"),
        (of([1.0], 0, count=0), "must give training examples, got none"),
        (of(["a"], 0), "x of data.function must hold real numbers, got object"),
        (of([np.nan], 0), "must be finite, got a value that is not in training example 0"),
        (of([1.0], 0, -1.0), r"weight must be a finite number >= 0, got -1.0 in training example 0"),
        (of([1.0], np.inf), r"y \(training\) must be finite"),
        (uneven, r"examples must have one shape and dtype"),
        (
            lambda: tf.data.Dataset.range(9).map(lambda n: ([1.0], 6 // (n - 4))),
            r"example 4 of the training examples of data.function cannot be read: .*[Dd]ivision by zero",
        ),
        (lambda: numbers("train", 0).shuffle(50), "must give the same examples in the same order .* shuffle"),
    ],
)
def test_what_a_function_may_not_give_is_named(function: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(function)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (lambda: numbers("train", 1).take(20), "example 20 of epoch 1 cannot be read: .* expected to contain 23"),
        (lambda: numbers("train", 1).repeat(2), "example 23 of epoch 1 cannot be read: .* expected to contain 23"),
        (lambda: numbers("train", 1).map(lambda x, y: (x, y + 1)), "of epoch 1 cannot be read: .*classes are 0 to 2"),
    ],
)
def test_another_epoch_must_be_like_the_first(later: Callable[[], tf.data.Dataset], message: str) -> None:
    data = read(lambda epoch: later() if epoch else numbers("train", 0))
    feed = iter(data.train(Shard(0, 1), batch=23, seed=0, start=1, prefetch=1))
    with pytest.raises(UserError, match=message):
        for _ in range(2):
            next(feed)


OWN = """
import numpy as np
import tensorflow as tf
from os.path import join as imported

def make(split, epoch):
    random = np.random.default_rng([["train", "validation", "test"].index(split), epoch])
    x = random.standard_normal((90, 4)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, (x.sum(axis=1) > 0).astype("int64")))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "owndata.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "owndata", raising=False)
    return "data.function=owndata.make"


def test_a_job_trains_on_a_function_of_the_users_own(own: str, build_job: Callable[..., Job]) -> None:
    words = ("data=python", own, "trust=[owndata]", "model.hidden=[8]", "strategy.replicas=2", "train.batch=15")
    job = build_job(*words, "optimizer=adam", "optimizer.learning_rate=0.02")
    assert any("read in sequence" in warning for warning in job.warnings)
    run(job, 60)
    assert job.evaluator(job.state.consensus(), Split.TEST)["accuracy"] > 0.85
    assert len(parameters(job)) == 2
    with pytest.raises(UserError, match=r"data.normalize has no effect, as .*python implements Data"):
        build_job(*words, "data.normalize=standardize")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.function=owndata.make",), r"data.function must be a function of a module that you trust, .*owndata\]"),
        (("data.function=os.system", "trust=[owndata]"), r"got os.system; if that code is yours, type trust=\[os\]"),
        (("data.function=keras.losses.MeanSquaredError",), "data.function must be a function of a module that you"),
        (("data.function=owndata.imported", "trust=[owndata]"), "data.function=owndata.imported is code of posixpath"),
        (
            ("data.function=owndata.nothing", "trust=[owndata]"),
            r"data.function=owndata.nothing cannot be used: .*nothin",
        ),
        (("data.function=owndata.np.pi", "trust=[owndata]"), "must name a function, got owndata.np.pi, which is float"),
        (("data.function=null",), r"data.function must be MODULE.FUNCTION, .* got null; type data.function=MODULE"),
        (("data.function=make", "trust=[make]"), r"data.function must be MODULE.FUNCTION, .* got make"),
    ],
)
@pytest.mark.usefixtures("own")
def test_only_a_trusted_function_is_called(build_job: Callable[..., Job], words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_job("data=python", *words)


def test_nothing_is_imported_before_it_is_trusted(own: str) -> None:
    with pytest.raises(UserError, match=r"data.function"):
        preflight.preflight(["data=python", own], config_dir=None)
    assert "owndata" not in sys.modules
