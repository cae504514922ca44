"""Makes batches of examples that are read by index, without state: the step number is the whole position.

The order of an epoch is a pseudo-random permutation, computed index by index from (seed, epoch). Nothing is stored or
restored, and step n does not need the n - 1 before it. An iterator checkpoint of tf.data would hold the shuffle buffer.
"""

from collections.abc import Iterable, Sequence
from typing import final

import tensorflow as tf

from tfscale import cores
from tfscale.data import normalize
from tfscale.data.augment import Augmentation
from tfscale.data.balance import Weigh
from tfscale.data.base import Batch, Examples, Shard, Source, Split
from tfscale.errors import first_line
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

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> tf.data.Dataset:
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
        return _untuned(batches.prefetch(prefetch))

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

    def evaluate(self, split: Split, shard: Shard, *, batch: int) -> tf.data.Dataset:
        """Returns one pass over the shard's examples of a split; see `base.Data`."""
        examples, total = self._source.examples[split], self.sizes[split]
        low, high = total * shard.rank // shard.size, total * (shard.rank + 1) // shard.size

        @_unconverted
        def step(indices: tf.Tensor) -> Batch:
            x, y, weights = examples.read(indices)
            return self._prepared(x), y, weights

        indices = tf.data.Dataset.range(low, high).batch(batch)
        batches = indices.map(step, num_parallel_calls=cores.count() if examples.is_slow else 1, deterministic=True)
        return _untuned(batches.prefetch(2))

    def name_unreadable(self, ranks: Sequence[int], *, size: int, batch: int, seed: int, step: int) -> str | None:
        """Returns the name and the fault of the first example of a step that cannot be read; see `base.Data`."""
        examples = self._source.examples[Split.TRAIN]
        for rank in ranks:
            indices, _, _ = self._indices(Shard(rank, size), batch, seed, tf.constant(step, tf.int64))
            if (named := first_unreadable(examples, indices.numpy())) is not None:
                return named
        return None

    def _prepared(self, x: Nested[tf.Tensor]) -> Nested[tf.Tensor]:
        return tf.nest.map_structure(normalize.prepared, x, self.spec.x, self._source.normalizers)


def first_unreadable(examples: Examples, indices: Iterable[int]) -> str | None:
    """Returns the name and the fault of the first of some examples that cannot be read; None if all can be."""
    for index in indices:
        try:
            examples.read(tf.constant([index], tf.int64))
        except Exception as error:  # noqa: BLE001 - whatever reading raises names what is wrong
            name, fault = examples.name(int(index)), first_line(error)
            return fault if fault.startswith(name) else f"{name} cannot be read: {fault}"
    return None


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns tf.data's autotuning off, which has nothing to tune here.

    Its thread sleeps for up to a minute, and on a busy machine does not notice that its iterator ends, which then waits
    for it: a run of many replicas took minutes to end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
