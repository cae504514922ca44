"""Makes batches of examples that are read by index, without state: the step number is the whole position.

The order of an epoch is a pseudo-random permutation, computed index by index from (seed, epoch). Nothing is stored or
restored, and step n does not need the n - 1 before it. An iterator checkpoint of tf.data would hold the shuffle buffer.
"""

from typing import final

import tensorflow as tf

from tfscale import cores
from tfscale.data import normalize
from tfscale.data.augment import Augmentation
from tfscale.data.balance import Weigh
from tfscale.data.base import Batch, Shard, Source, Split
from tfscale.data.unreadable import NamedBatches, first_unreadable
from tfscale.specs import Nested, leaves

_unconverted = tf.autograph.experimental.do_not_convert
"""Decorator without AutoGraph, which writes a temporary file that a killed process leaves behind."""

_EPOCHS_APART = 1_000_003
"""Distance between the seeds of two epochs for augmentation."""


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
        def step(number: tf.Tensor) -> Batch:
            indices, weight, epoch = self._indices(shard, batch, seed, number)
            x, y, weights = examples.read(indices)
            if self._augmentation is not None:
                x = self._augmentation(leaves(x)[""], seed + epoch * _EPOCHS_APART, indices)
            if self._weigh is not None:
                weights *= self._weigh(y)
            return self._prepared(x), y, weights * tf.cast(weight, tf.float32)

        slow = examples.is_slow or self._augmentation is not None
        numbers = tf.data.Dataset.range(start, tf.int64.max)
        batches = numbers.map(step, num_parallel_calls=cores.count() if slow else 1, deterministic=True)

        def fault(number: int) -> str | None:
            indices, _, _ = self._indices(shard, batch, seed, tf.constant(start + number, tf.int64))
            return first_unreadable(examples, indices.numpy())

        return NamedBatches(_untuned(batches.prefetch(prefetch)), fault)

    def _indices(
        self, shard: Shard, batch: int, seed: int, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the examples of a step [b], the factor of their weights, and the epoch."""
        total, global_batch = self.sizes[Split.TRAIN], batch * shard.size
        steps = -(-total // global_batch)
        epoch = number // steps
        first = (number - epoch * steps) * global_batch
        present = tf.minimum(tf.constant(global_batch, tf.int64), total - first)
        low = first + shard.rank * present // shard.size
        high = first + (shard.rank + 1) * present // shard.size
        # A replica without an example in this step computes one of weight 0.
        positions = tf.range(low, tf.maximum(high, low + 1)) % total
        weight = tf.where(high > low, global_batch / present, tf.constant(0.0, tf.float64))
        indices = tf.random.experimental.index_shuffle(
            positions, seed=tf.stack([tf.constant(seed, tf.int64), epoch]), max_index=total - 1
        )
        return indices, weight, epoch

    def evaluate(self, split: Split, shard: Shard, *, batch: int) -> NamedBatches:
        """Returns one pass over the shard's examples of a split; see `base.Data`."""
        examples, total = self._source.examples[split], self.sizes[split]
        low, high = total * shard.rank // shard.size, total * (shard.rank + 1) // shard.size

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

    def _prepared(self, x: Nested[tf.Tensor]) -> Nested[tf.Tensor]:
        return tf.nest.map_structure(normalize.prepared, x, self.spec.x, self._source.normalizers)


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns tf.data's autotuning off, which has nothing to tune here.

    Its thread sleeps for up to a minute, and on a busy machine does not notice that its iterator ends, which then waits
    for it: a run of many replicas took minutes to end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
