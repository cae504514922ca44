"""Targets of every kind lead to the right task, or to one message; losses are one number for each example."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec
from tfscale.tasks.base import Task, per_example
from tfscale.tasks.classification import Classification
from tfscale.tasks.select import TASKS, auto, several

N = 30
IMAGES = np.zeros((N, 4, 6, 1), np.uint8)
POINTS = np.zeros((N, 5), np.float32)
IDS = np.zeros((N, 7), np.int32)
CLASSES = np.arange(N) % 3
ONE_HOT = np.eye(3)[CLASSES]


def spec_of(x: object, y: object, **more: object) -> ElementSpec:
    return source_of(Arrays(x, y, **more)).spec  # pyright: ignore[reportArgumentType]


KINDS = {
    "class numbers": (POINTS, CLASSES, {}, "classification", 3),
    "unsigned bytes": (POINTS, CLASSES.astype(np.uint8), {}, "classification", 3),
    "a column of class numbers": (POINTS, CLASSES[:, None], {}, "classification", 3),
    "class names": (POINTS, np.array(["b", "a", "c"])[CLASSES], {}, "classification", 3),
    "class names as bytes": (POINTS, np.array([b"b", b"a", b"c"])[CLASSES], {}, "classification", 3),
    "class names as objects": (POINTS, np.array(["b", "a", "c"], object)[CLASSES], {}, "classification", 3),
    "yes and no": (POINTS, CLASSES == 1, {}, "classification", 2),
    "one-hot floats": (POINTS, ONE_HOT, {}, "classification", 3),
    "one-hot integers": (POINTS, ONE_HOT.astype(np.int64), {}, "classification", 3),
    "rows of 0 and 1": (POINTS, (np.arange(N)[:, None] >> np.arange(4)) % 2, {}, "multilabel", 4),
    "measurements": (POINTS, CLASSES / 2, {}, "regression", 1),
    "float16 measurements": (POINTS, (CLASSES / 2).astype(np.float16), {}, "regression", 1),
    "rows of measurements": (POINTS, np.stack([CLASSES / 2, CLASSES / 3], axis=1), {}, "regression", 2),
    "no targets": (IMAGES, None, {}, "reconstruction", 24),
    "pictures of classes": (IMAGES, np.arange(N * 24).reshape(N, 4, 6) % 3, {}, "segmentation", 3),
    "pictures of classes with a channel": (IMAGES, np.arange(N * 24).reshape(N, 4, 6, 1) % 3, {}, "segmentation", 3),
    "ids for ids": (IDS, np.arange(N * 7).reshape(N, 7) % 9, {"vocabulary": 9}, "next_token", 9),
}


@pytest.mark.parametrize("kind", KINDS)
def test_targets_name_their_task(kind: str) -> None:
    x, y, more, name, units = KINDS[kind]
    task = auto(spec_of(x, y, **more))
    assert (task.name, task.units) == (name, units)
    _check_round(task, x, y)


def _check_round(task: Task, x: np.ndarray, y: np.ndarray | None) -> None:
    """A perfect output costs less than a wrong one, and decodes to the targets."""
    source = source_of(Arrays(x, y, vocabulary=9 if x is IDS else None))
    raw_x, raw_y, _ = next(iter(source.examples.values())).read(tf.range(N, dtype=tf.int64))
    targets = task.encode(tf.cast(raw_x, tf.float32), raw_y)
    dense = task.activation == "softmax"
    perfect = tf.one_hot(targets, task.units) if dense else tf.cast(targets, tf.float32)
    wrong = tf.roll(perfect, 1, axis=-1) if dense else 1 - perfect
    losses = [task.loss(targets, outputs).numpy() for outputs in (perfect, wrong)]
    assert [each.shape for each in losses] == [(N,), (N,)]
    assert (losses[0] < 1e-5).all()
    assert (losses[1] > losses[0]).any()
    decoded = task.decode(perfect.numpy())
    assert len(decoded) == N
    for measure in task.measures.values():
        metric = measure.make()
        metric.update_state(targets, perfect)
        assert np.ndim(metric.result()) == 0


@pytest.mark.parametrize(
    ("name", "x", "y", "message"),
    [
        ("classification", POINTS, CLASSES / 2, "class numbers or names as targets, got float64"),
        ("classification", POINTS, None, "task=classification must have targets, and the data have none"),
        ("classification", IMAGES, KINDS["pictures of classes"][1], "one class for each example"),
        ("binary", POINTS, CLASSES, "one of two classes for each example as targets, got int64 .*, 3 categories"),
        ("multilabel", POINTS, CLASSES, "a row of 0 and 1 for each example"),
        ("regression", POINTS, KINDS["class names"][1], "numbers as targets, got str"),
        ("regression", POINTS, np.zeros((N, 2, 2)), r"got shape \(2, 2\)"),
        ("segmentation", POINTS, CLASSES, "a picture of class numbers"),
        ("next_token", POINTS, CLASSES, "a row of ids"),
        ("reconstruction", (POINTS, POINTS), None, r"has one input, and the data have several \(2\)"),
        ("classification", POINTS, {"a": CLASSES, "b": CLASSES}, r"several \(a, b\); use task=several"),
    ],
)
def test_targets_that_do_not_fit_a_task_are_refused(name: str, x: object, y: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TASKS[name](spec_of(x, y))


@pytest.mark.parametrize("y", [CLASSES - 1, CLASSES.astype(np.int64) << 40])
def test_whole_numbers_that_are_no_classes_are_not_taken_for_measurements(y: np.ndarray) -> None:
    """2^40 once became 0, and labels from -1 a regression would be a guess."""
    with pytest.raises(UserError, match=r"whole numbers that are no class numbers .* type task=regression"):
        auto(spec_of(POINTS, y))
    assert TASKS["regression"](spec_of(POINTS, y)).units == 1


def test_more_classes_than_examples_are_asked_for() -> None:
    with pytest.raises(UserError, match=r"501 classes and 30 examples.*task=regression.*task=classification"):
        auto(spec_of(POINTS, np.arange(N) + 471))


def test_several_targets_have_a_task_each_and_weights() -> None:
    spec = spec_of(POINTS, {"kind": CLASSES, "price": CLASSES / 2})
    task = several(spec, outputs={}, weights={"price": 3.0})
    assert task.units == {"kind": 3, "price": 1}
    assert list(task.measures) == ["kind_accuracy", "price_mae", "price_rmse", "price_r2"]
    y = {"kind": tf.constant([1, 2]), "price": tf.constant([0.5, 1.0])}
    targets = task.encode(tf.zeros((2, 5)), y)
    outputs = {"kind": tf.one_hot([1, 2], 3), "price": tf.constant([[0.5], [3.0]])}
    np.testing.assert_allclose(task.loss(targets, outputs), [0, 3 * 4], atol=1e-5)
    with pytest.raises(UserError, match=r"outputs must be a dictionary of kind, price, as the targets are, got Eager"):
        task.loss(targets, outputs["kind"])
    with pytest.raises(UserError, match=r"task.outputs must name targets \(kind, price\), got size"):
        several(spec, outputs={"size": "regression"}, weights={})
    with pytest.raises(UserError, match=r"task.weights must name outputs \(kind, price\), got size"):
        several(spec, outputs={}, weights={"size": 1.0})
    with pytest.raises(UserError, match=r"task.outputs.kind must be one of .*, got counting"):
        several(spec, outputs={"kind": "counting"}, weights={})


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_dense_loss_is_the_mean_of_each_example_whatever_the_width(width: int) -> None:
    """Weights [b] once met the last axis: 64 times off where it had length 1 or that of the batch."""
    targets, outputs = np.zeros((2, 3, width), np.int64), np.full((2, 3, width, 2), [0.8, 0.2], np.float32)
    outputs[1] = outputs[1, ..., ::-1]
    losses = per_example(keras.losses.SparseCategoricalCrossentropy(reduction="none"))(targets, outputs)
    np.testing.assert_allclose(losses, -np.log([0.8, 0.2]), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_of_another_shape_is_refused(kind: str) -> None:
    """It would be broadcast against the targets: 25 numbers beside a picture of 5x5 gave an error of the backend."""
    x, y, more, _, units = KINDS[kind]
    task = auto(spec_of(x, y, **more))
    with pytest.raises(UserError, match=r"the model's output must have shape .* for task=\w+, got \("):
        task.loss(tf.zeros((2, 1)), tf.zeros((2, units + 1)))


def test_one_class_is_not_enough() -> None:
    with pytest.raises(UserError, match="at least 2 classes, got 1"):
        Classification(
            ElementSpec(
                x=ArraySpec(shape=(2,), dtype="float32"), y=ArraySpec(shape=(), dtype="str", categories=1, names=("a",))
            )
        )
