"""Makes batches of examples that are read by index, without state: the step number is the whole position.

The order of an epoch is a pseudo-random permutation, computed index by index from (seed, epoch). Nothing is stored or
restored, and step n does not need the n - 1 before it. An iterator checkpoint of tf.data would hold the shuffle buffer.

TensorFlow takes longer to start an operation than to compute it for a small batch, so the indices of several steps are
computed at once. Examples that are quick to read are read for these steps at once, too, and then cut into batches.
"""

import math
from typing import TypeVar, final

import numpy as np
import tensorflow as tf

from tfscale import cores
from tfscale.data import normalize
from tfscale.data.augment import Augmentation
from tfscale.data.balance import Weigh
from tfscale.data.base import Batch, Shard, Source, Split
from tfscale.data.unreadable import NamedBatches, first_unreadable
from tfscale.specs import Nested, leaves

T = TypeVar("T", int, tf.Tensor)

_unconverted = tf.autograph.experimental.do_not_convert
"""Decorator without AutoGraph, which writes a temporary file that a killed process leaves behind."""

_EPOCHS_APART = 1_000_003
"""Distance between the seeds of two epochs for augmentation."""

_INDICES = 2048
"""Indices that are computed at once, about."""

_BYTES = 1 << 22
"""Bytes of the inputs that are read at once, at most, if a batch is not larger."""

_QUICK_CALLS = 2
"""Blocks of steps that are read concurrently: one may be in Python, which has one thread, and one in TensorFlow."""

_SEED_PREFIX = 498247692
"""First number of a seed, as tf.random.experimental.index_shuffle has it, which takes only one seed for all indices."""


@final
class IndexedData:
    """`Data` over a source.

    Args:
        source: The examples.
        augmentation: Changes training inputs; None for nothing.
        weigh: Weights of training examples by their targets; None for 1.
    """

    def __init__(self, source: Source, *, augmentation: Augmentation | None = None, weigh: Weigh | None = None) -> None:
        self._source, self._augmentation, self._weigh = source, augmentation, weigh
        self.spec = source.spec
        self.sizes = {split: len(examples) for split, examples in source.examples.items()}

    @property
    def digest(self) -> str:
        """sha256 of all examples; see `base.Data`."""
        return self._source.digest

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> NamedBatches:
        """Returns endless (x, y, weight); see `base.Data`."""
        examples = self._source.examples[Split.TRAIN]

        @_unconverted
        def indexed(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return self._indices(shard, batch, seed, numbers)

        @_unconverted
        def read(indices: tf.Tensor, weight: tf.Tensor, epoch: tf.Tensor) -> Batch:
            x, y, weights = examples.read(indices)
            if self._augmentation is not None:
                x = self._augmentation(leaves(x)[""], seed + epoch * _EPOCHS_APART, indices)
            if self._weigh is not None:
                weights *= self._weigh(y)
            return self._prepared(x), y, weights * weight

        ahead = self._steps_at_once(batch)
        numbers = tf.data.Dataset.range(start, tf.int64.max).batch(ahead)
        indices = numbers.map(indexed, num_parallel_calls=1)
        sizes = self._sizes(shard, batch, start)
        if self._is_slow:
            at_once = 1
            batches = indices.rebatch(sizes).map(read, num_parallel_calls=cores.count(), deterministic=True)
            batches = batches.prefetch(prefetch)
        else:  # No thread has to be woken for each batch: the one that takes a batch cuts it.
            at_once = ahead
            blocks = indices.map(read, num_parallel_calls=_QUICK_CALLS, deterministic=True)
            batches = blocks.prefetch(-(-prefetch // ahead)).rebatch(sizes)

        def fault(number: int) -> str | None:
            first = start + number
            indices, _, _ = self._indices(shard, batch, seed, tf.range(first, first + at_once, dtype=tf.int64))
            return first_unreadable(examples, indices.numpy())

        return NamedBatches(_untuned(batches), fault)

    @property
    def _is_slow(self) -> bool:
        return self._source.examples[Split.TRAIN].is_slow or self._augmentation is not None

    def _steps_at_once(self, batch: int) -> int:
        """Returns the number of steps whose indices are computed, and quick examples are read, at once."""
        parts = [*leaves(self.spec.x).values(), *leaves(self.spec.y or ()).values()]
        row = sum(4 * math.prod(part.shape) for part in parts)  # float32 and int32
        most = _INDICES if self._is_slow else min(_INDICES, _BYTES // max(1, row))
        return max(1, most // batch)

    def _steps(self, shard: Shard, batch: int) -> int:
        """Returns the steps of an epoch."""
        return -(-self.sizes[Split.TRAIN] // (batch * shard.size))

    def _sizes(self, shard: Shard, batch: int, start: int) -> np.ndarray:
        """Returns the number of examples of each step of an epoch, from that of step `start` on, in turns."""
        steps = self._steps(shard, batch)
        sizes = np.full(steps, batch)
        low, high = _bounds(self.sizes[Split.TRAIN] - (steps - 1) * batch * shard.size, shard)
        sizes[-1] = max(1, high - low)
        return np.roll(sizes, -(start % steps))

    def _indices(
        self, shard: Shard, batch: int, seed: int, numbers: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the examples of steps [k], in their order, [n], the factor of each one's weight, and its epoch."""
        total, global_batch, steps = self.sizes[Split.TRAIN], batch * shard.size, self._steps(shard, batch)
        epochs = numbers // steps
        first = (numbers - epochs * steps) * global_batch
        present = tf.minimum(tf.constant(global_batch, tf.int64), total - first)
        low, high = _bounds(present, shard)
        factor = tf.where(high > low, global_batch / present, tf.constant(0.0, tf.float64))
        # A replica without an example in a step computes one of weight 0.
        place = tf.where(tf.range(batch, dtype=tf.int64) < tf.maximum(high - low, 1)[:, tf.newaxis])
        step, position = place[:, 0], place[:, 1]
        epoch = tf.gather(epochs, step)
        indices = tf.raw_ops.RandomIndexShuffle(
            index=(tf.gather(first + low, step) + position) % total,
            seed=tf.stack(
                [tf.fill(tf.shape(epoch), tf.constant(each, tf.int64)) for each in (_SEED_PREFIX, seed)] + [epoch], 1
            ),
            max_index=tf.constant(total - 1, tf.int64),
            rounds=4,
        )
        return indices, tf.cast(tf.gather(factor, step), tf.float32), epoch

    def evaluate(self, split: Split, shard: Shard, *, batch: int) -> NamedBatches:
        """Returns one pass over the shard's examples of a split; see `base.Data`."""
        examples = self._source.examples[split]
        low, high = shard.bounds(self.sizes[split])

        @_unconverted
        def step(indices: tf.Tensor) -> Batch:
            x, y, weights = examples.read(indices)
            return self._prepared(x), y, weights

        indices = tf.data.Dataset.range(low, high).batch(batch)
        batches = indices.map(step, num_parallel_calls=cores.count() if examples.is_slow else 1, deterministic=True)

        def fault(number: int) -> str | None:
            first = low + number * batch
            return first_unreadable(examples, range(first, min(first + batch, high)))

        return NamedBatches(_untuned(batches.prefetch(2)), fault)

    def raw_inputs(self, split: Split, start: int, stop: int) -> Nested[np.ndarray]:
        """Returns the inputs of the examples `start` to `stop`, [n, ...], as the source has them."""
        x, _, _ = self._source.examples[split].read(tf.range(start, stop, dtype=tf.int64))
        return tf.nest.map_structure(lambda part: part.numpy(), x)

    def _prepared(self, x: Nested[tf.Tensor]) -> Nested[tf.Tensor]:
        return tf.nest.map_structure(normalize.prepared, x, self.spec.x, self._source.normalizers)


def _bounds(present: T, shard: Shard) -> tuple[T, T]:
    """Returns the first example of a step that a replica takes, and the one after its last, of those present."""
    return shard.rank * present // shard.size, (shard.rank + 1) * present // shard.size


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns tf.data's autotuning off, which has nothing to tune here.

    Its thread sleeps for up to a minute, and on a busy machine does not notice that its iterator ends, which then waits
    for it: a run of many replicas took minutes to end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
