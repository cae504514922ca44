"""From arrays in memory to batches: stateless, so that one integer is the whole position.

The order of an epoch is a pseudo-random permutation computed index by index from (seed, epoch): nothing to store,
nothing to restore, and step n can be produced without the n - 1 before it. tf.data's own iterator checkpoints carry the
shuffle buffer instead.
"""

import hashlib
from functools import cached_property
from typing import final

import numpy as np
import tensorflow as tf

from tfscale.data.base import Arrays, Shard
from tfscale.errors import UserError

_ROWS = 1 << 14
"""Examples that are added to a sum at a time."""

_as_it_is = tf.autograph.experimental.do_not_convert
"""What is converted is written to a temporary file, which a process that is killed leaves behind."""


@final
class ArrayData:
    """`Data` over arrays.

    Args:
        arrays: The examples.

    Raises:
        UserError: The arrays are not what `Arrays` says; nothing is cast to make them fit.
    """

    def __init__(self, arrays: Arrays) -> None:
        _check(arrays)
        self._arrays = arrays
        self.examples = len(arrays.x_train)
        self.test_examples = len(arrays.x_test)
        self.input_shape = tuple(arrays.x_train.shape[1:])
        self.classes = arrays.classes
        self.vocabulary = arrays.vocabulary

    @property
    def digest(self) -> str:
        """sha256 of all examples; see `base.Data`."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        total = hashlib.sha256(repr((self._arrays.scale, self.classes, self.vocabulary)).encode())
        for array in self._arrays[:4]:
            total.update(repr((array.dtype.str, array.shape)).encode())
            for start in range(0, len(array), _ROWS):  # windows into a text are not contiguous, and many
                total.update(np.ascontiguousarray(array[start : start + _ROWS]).data)
        return total.hexdigest()

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> tf.data.Dataset:
        """Endless (x, y, weight); see `base.Data`."""
        x, y = self._train_tensors
        examples, whole = self.examples, batch * shard.size
        steps = -(-examples // whole)

        @_as_it_is
        def step(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            epoch = number // steps
            first = (number - epoch * steps) * whole
            present = tf.minimum(tf.constant(whole, tf.int64), examples - first)
            low = first + shard.rank * present // shard.size
            high = first + (shard.rank + 1) * present // shard.size
            # A replica that is left without an example computes one that weighs nothing.
            positions = tf.range(low, tf.maximum(high, low + 1)) % examples
            weight = tf.where(high > low, whole / present, tf.constant(0.0, tf.float64))
            indices = tf.random.experimental.index_shuffle(
                positions, seed=tf.stack([tf.constant(seed, tf.int64), epoch]), max_index=examples - 1
            )
            weights = tf.fill(tf.shape(indices), tf.cast(weight, tf.float32))
            return self._prepared(tf.gather(x, indices)), tf.gather(y, indices), weights

        numbers = tf.data.Dataset.range(start, tf.int64.max)
        return _untuned(numbers.map(step, num_parallel_calls=1, deterministic=True).prefetch(prefetch))

    def evaluate(self, shard: Shard, *, batch: int) -> tf.data.Dataset:
        """One pass over the shard's test examples; see `base.Data`."""
        low = self.test_examples * shard.rank // shard.size
        high = self.test_examples * (shard.rank + 1) // shard.size
        x, y = self._test_tensors

        @_as_it_is
        def step(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self._prepared(tf.gather(x, indices)), tf.gather(y, indices)

        return _untuned(tf.data.Dataset.range(low, high).batch(batch).map(step).prefetch(2))

    @cached_property
    def _train_tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        return _on_host(self._arrays.x_train, self._arrays.y_train)

    @cached_property
    def _test_tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        return _on_host(self._arrays.x_test, self._arrays.y_test)

    def _prepared(self, x: tf.Tensor) -> tf.Tensor:
        if self.vocabulary is not None:
            return tf.cast(x, tf.int32)
        return tf.cast(x, tf.float32) * self._arrays.scale


def _check(arrays: Arrays) -> None:
    """Raises UserError if the arrays are not what `Arrays` says."""
    for part, x, y in (("train", arrays.x_train, arrays.y_train), ("test", arrays.x_test, arrays.y_test)):
        _check_inputs(f"x_{part}", x, arrays.vocabulary)
        if y.ndim != 1 or len(y) != len(x):
            raise UserError(
                f"data: y_{part} must have one label for each x_{part}, shape ({len(x)},), got {y.shape}; targets with "
                "more axes cannot be trained on yet"
            )
        if y.dtype.kind not in "biu":
            raise UserError(
                f"data: y_{part} must be whole numbers, got {y.dtype}; number the classes from 0: regression is not "
                "possible yet"
            )
        _check_range(f"y_{part}", y, arrays.classes, "classes")
    if arrays.x_train.dtype != arrays.x_test.dtype or arrays.x_train.shape[1:] != arrays.x_test.shape[1:]:
        raise UserError(
            f"data: x_train and x_test must be alike, got {arrays.x_train.dtype} {arrays.x_train.shape[1:]} and "
            f"{arrays.x_test.dtype} {arrays.x_test.shape[1:]}; convert one of them"
        )


def _check_inputs(name: str, x: np.ndarray, vocabulary: int | None) -> None:
    if x.ndim < 2 or 0 in x.shape:
        raise UserError(
            f"data: {name} must have at least one example and an axis of features, got shape {x.shape}; give more "
            "examples, or another split"
        )
    if x.dtype.kind not in ("iu" if vocabulary is not None else "biuf"):
        wanted = "ids, which are whole numbers" if vocabulary is not None else "real numbers"
        raise UserError(f"data: {name} must hold {wanted}, got {x.dtype}; convert it")
    if vocabulary is not None:
        _check_range(name, x, vocabulary, "vocabulary")


def _check_range(name: str, values: np.ndarray, limit: int, what: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= limit:
        raise UserError(f"data: {name} must be from 0 to {limit - 1} ({what}={limit}), got {low} to {high}; renumber")


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Without the thread that tunes what is left to it, which is nothing here.

    That thread sleeps twice as long each time, up to a minute, and on a busy machine misses that its iterator ends,
    which then waits for it: a run of many replicas took minutes to end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _on_host(x: np.ndarray, y: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """One copy for all replicas of the process, in the host's memory."""
    with tf.device("/CPU:0"):
        return tf.constant(x), tf.constant(y, tf.int32)
