"""Normalizers, weights of classes and augmentation: fitted on training examples, the same at every W."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale.data import normalize
from tfscale.data.arrays import source_of
from tfscale.data.augment import Augmentation
from tfscale.data.balance import class_weights
from tfscale.data.base import Arrays, Shard, Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.splits import Held, hold_out
from tfscale.errors import UserError

N = 3000  # more than is read at a time
RANDOM = np.random.default_rng(0)
X = RANDOM.normal([1e6, -3, 5, 7], [1e-1, 2, 0, 4], (N, 4))
Y = (np.arange(N) % 5 == 0).astype(np.int64)


def prepared(source: Source, split: Split = Split.TRAIN) -> np.ndarray:
    return np.concatenate([x for x, *_ in IndexedData(source).evaluate(split, Shard(0, 1), batch=100)])


def test_standardized_columns_have_mean_0_and_deviation_1_on_the_training_examples() -> None:
    held = Held(validation=0.2, test=None, stratify=False, seed=0)
    source = normalize.fit(hold_out(source_of(Arrays(X, Y)), held), "standardize", fill_missing=False)
    train, validation = prepared(source), prepared(source, Split.VALIDATION)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(train.std(axis=0), [1, 1, 0, 1], atol=1e-3)
    assert np.abs(validation.mean(axis=0)).max() > 1e-3, "statistics are not those of the validation examples"
    assert validation[:, 0].std() > 0.9, "a small change of a large number is not rounded away"


def test_min_max_and_none() -> None:
    source = normalize.fit(source_of(Arrays(X, Y)), "min_max", fill_missing=False)
    got = prepared(source)
    np.testing.assert_allclose([got.min(axis=0), got.max(axis=0)], [[0] * 4, [1, 1, 0, 1]], atol=1e-5)
    bytes_ = np.full((4, 2), 100, np.uint8)
    np.testing.assert_array_equal(
        prepared(normalize.fit(source_of(Arrays(bytes_, None)), "none", fill_missing=False)), bytes_
    )


def test_images_are_normalized_by_channel() -> None:
    images = RANDOM.integers(0, 255, (50, 4, 4, 3), np.uint8)
    got = prepared(normalize.fit(source_of(Arrays(images, None)), "standardize", fill_missing=False))
    np.testing.assert_allclose(got.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(got.std(axis=(0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("method", ["auto", "standardize"])
def test_missing_values_become_the_mean_of_their_column(method: normalize.Method) -> None:
    x = X.copy()
    x[::7, 1] = np.nan
    got = prepared(normalize.fit(source_of(Arrays(x, Y), missing="mean"), method, fill_missing=True))
    wanted = 0 if method == "standardize" else np.nanmean(x[:, 1])
    np.testing.assert_allclose(got[::7, 1], wanted, atol=1e-5)


def test_ids_have_nothing_to_normalize() -> None:
    ids = source_of(Arrays(np.ones((4, 3), np.int32), np.arange(4) % 2, vocabulary=5))
    with pytest.raises(UserError, match=r"data.normalize=standardize must have measurements as inputs"):
        normalize.fit(ids, "standardize", fill_missing=False)


@pytest.mark.parametrize("y", [Y, np.eye(2)[Y], np.array(["no", "yes"])[Y]])
def test_balanced_classes_weigh_the_same_together(y: np.ndarray) -> None:
    source = source_of(Arrays(X, y))
    data = IndexedData(source, weigh=class_weights(source, "balanced"))
    feed = itertools.islice(data.train(Shard(0, 1), batch=100, seed=1, start=0, prefetch=1), 30)
    totals = np.zeros(2)
    for _, targets, weight in feed:
        labels = targets.numpy().argmax(axis=1) if targets.shape.rank == 2 else targets.numpy()
        np.add.at(totals, labels, weight.numpy())
    np.testing.assert_allclose(totals, N / 2, rtol=1e-5)


def test_classes_are_weighed_by_name() -> None:
    source = source_of(Arrays(X, np.array(["no", "yes"])[Y]))
    weigh = class_weights(source, {"yes": 3.0})
    assert weigh is not None
    np.testing.assert_array_equal(weigh(tf.constant([0, 1, 1])), [1, 3, 3])
    with pytest.raises(UserError, match=r"data.class_weight must name classes \(no, yes\), got maybe"):
        class_weights(source, {"maybe": 2.0})
    with pytest.raises(UserError, match=r"data.class_weight must have one class for each example"):
        class_weights(source_of(Arrays(X, X[:, 0])), "balanced")


def augmented(size: int, *, seed: int = 5, epoch: int = 0) -> dict[int, np.ndarray]:
    """Each example by its number, as the replicas get it in an epoch."""
    x = np.zeros((12, 8, 8, 1), np.float32)
    x[:, 2:5, 1:4] = np.arange(1, 13).reshape(-1, 1, 1, 1)
    source = source_of(Arrays(x, np.arange(12)))
    layers = [keras.layers.RandomFlip(), keras.layers.RandomTranslation(0.3, 0.3, fill_mode="constant")]
    data = IndexedData(source, augmentation=Augmentation(layers, source.spec.x))
    steps = 12 // (2 * size)
    found = {}
    for rank in range(size):
        feed = data.train(Shard(rank, size), batch=2, seed=seed, start=steps * epoch, prefetch=1)
        for images, numbers, _ in itertools.islice(feed, steps):
            found |= {int(number): image for number, image in zip(numbers.numpy(), images.numpy(), strict=True)}
    return found


def test_augmentation_is_the_same_at_every_w_and_new_in_every_epoch() -> None:
    one, again, two, three, later, other = (
        augmented(1),
        augmented(1),
        augmented(2),
        augmented(3),
        augmented(1, epoch=1),
        augmented(1, seed=6),
    )
    assert sorted(one) == sorted(two) == sorted(three) == list(range(12))
    for number, image in one.items():
        for same in (again, two, three):
            np.testing.assert_array_equal(image, same[number])
    for changed in (later, other):
        assert sum(not np.array_equal(one[number], changed[number]) for number in one) > 8
    shifts = {tuple(np.argwhere(image[..., 0] > 0)[0]) for image in one.values() if image.any()}
    assert len(shifts) > 5, "each example is changed in a way of its own"


def test_augmentation_needs_images_and_keeps_their_shape() -> None:
    spec = source_of(Arrays(np.zeros((4, 8, 8, 1)), None)).spec.x
    with pytest.raises(UserError, match=r"data.augment must keep the shape of the input \(8, 8, 1\), got \(4, 4, 1\)"):
        Augmentation([keras.layers.RandomCrop(4, 4)], spec)
    with pytest.raises(UserError, match=r"data.augment must have one input of measurements"):
        Augmentation([], {"a": spec, "b": spec})  # pyright: ignore[reportArgumentType]
