"""Makes batches of arrays in memory, without state: the step number is the whole position.

The order of an epoch is a pseudo-random permutation, computed index by index from (seed, epoch). Nothing is stored or
restored, and step n does not need the n - 1 before it. An iterator checkpoint of tf.data would hold the shuffle buffer.
"""

import hashlib
from functools import cached_property
from typing import final

import numpy as np
import tensorflow as tf

from tfscale.data.base import Arrays, Shard
from tfscale.errors import UserError

_ROWS = 1 << 14
"""Examples that the digest is updated with at a time."""

_unconverted = tf.autograph.experimental.do_not_convert
"""Decorator without AutoGraph, which writes a temporary file that a killed process leaves behind."""


@final
class ArrayData:
    """`Data` over arrays.

    Args:
        arrays: The examples.

    Raises:
        UserError: The arrays do not have the dtypes and shapes of `Arrays`; nothing is cast.
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
            for start in range(0, len(array), _ROWS):  # a copy of all windows of a text would be large
                total.update(np.ascontiguousarray(array[start : start + _ROWS]).data)
        return total.hexdigest()

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> tf.data.Dataset:
        """Returns endless (x, y, weight); see `base.Data`."""
        x, y = self._train_tensors
        examples, global_batch = self.examples, batch * shard.size
        steps = -(-examples // global_batch)

        @_unconverted
        def step(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            epoch = number // steps
            first = (number - epoch * steps) * global_batch
            present = tf.minimum(tf.constant(global_batch, tf.int64), examples - first)
            low = first + shard.rank * present // shard.size
            high = first + (shard.rank + 1) * present // shard.size
            # A replica without an example in this step computes one of weight 0.
            positions = tf.range(low, tf.maximum(high, low + 1)) % examples
            weight = tf.where(high > low, global_batch / present, tf.constant(0.0, tf.float64))
            indices = tf.random.experimental.index_shuffle(
                positions, seed=tf.stack([tf.constant(seed, tf.int64), epoch]), max_index=examples - 1
            )
            weights = tf.fill(tf.shape(indices), tf.cast(weight, tf.float32))
            return self._prepared(tf.gather(x, indices)), tf.gather(y, indices), weights

        numbers = tf.data.Dataset.range(start, tf.int64.max)
        return _untuned(numbers.map(step, num_parallel_calls=1, deterministic=True).prefetch(prefetch))

    def evaluate(self, shard: Shard, *, batch: int) -> tf.data.Dataset:
        """Returns one pass over the shard's test examples; see `base.Data`."""
        low = self.test_examples * shard.rank // shard.size
        high = self.test_examples * (shard.rank + 1) // shard.size
        x, y = self._test_tensors

        @_unconverted
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
    """Raises UserError if dtypes, shapes or ranges are not those of `Arrays`."""
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
    """Turns tf.data's autotuning off, which has nothing to tune here.

    Its thread sleeps for up to a minute, and on a busy machine does not notice that its iterator ends, which then waits
    for it: a run of many replicas took minutes to end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _on_host(x: np.ndarray, y: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Copies the arrays into host memory, once for all replicas of the process."""
    with tf.device("/CPU:0"):
        return tf.constant(x), tf.constant(y, tf.int32)
