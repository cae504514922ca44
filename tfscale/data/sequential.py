"""Data that can only be read from their beginning on: a tf.data.Dataset of examples, made anew for each epoch.

The order is the dataset's own. A step in the middle of an epoch is reached by reading and dropping the examples before
it; that is what makes it the last resort, beside sources that are read by index.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, final

import tensorflow as tf

from tfscale.data import normalize
from tfscale.data.base import Batch, Normalizer, Shard, Split
from tfscale.data.preprocessing import Preprocessing, adopted_spec
from tfscale.data.unreadable import NamedBatches
from tfscale.errors import informative_line
from tfscale.specs import ElementSpec, Nested

Make: TypeAlias = Callable[[Split, int, int], tf.data.Dataset]
"""(split, epoch, seed) -> examples (x, y, weight), y encoded as the spec says; the same arguments give the same."""


@final
class SequentialData:
    """`Data` over datasets of single examples.

    Args:
        make: The examples of a split.
        spec: Of one example.
        sizes: Number of examples of each split; every epoch has as many.
        digest: sha256, in hexadecimal, of what identifies the examples.
        normalizers: Of each input.
        warnings: Sentences about the examples for the user.

    Attributes:
        normalizers: Of each input.
    """

    def __init__(
        self,
        make: Make,
        *,
        spec: ElementSpec,
        sizes: Mapping[Split, int],
        digest: str,
        normalizers: Nested[Normalizer],
        warnings: Sequence[str] = (),
    ) -> None:
        self._make, self.normalizers = make, normalizers
        self.spec, self.sizes, self.digest, self.warnings = spec, sizes, digest, tuple(warnings)

    def adopting(self, learned: Preprocessing) -> "SequentialData":
        """Returns the examples with the preprocessing of a run.

        Raises:
            UserError: They are not of the kind that it was trained on.
        """
        spec = adopted_spec(self.spec, learned, "data")
        return SequentialData(
            self._make,
            spec=spec,
            sizes=self.sizes,
            digest=self.digest,
            normalizers=learned.normalizers,
            warnings=self.warnings,
        )

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> NamedBatches:
        """Returns endless (x, y, weight); see `base.Data`."""
        whole = batch * shard.size

        def share(x: Nested[tf.Tensor], y: Nested[tf.Tensor], weight: tf.Tensor) -> Batch:
            present = tf.shape(weight)[0]
            low, high = (rank * present // shard.size for rank in (shard.rank, shard.rank + 1))
            # A replica without an example in this step computes one of weight 0.
            factor = tf.where(high > low, whole / present, tf.constant(0.0, tf.float64))
            own = tf.nest.map_structure(lambda part: part[low : tf.maximum(high, low + 1)], (x, y, weight))
            return self._prepared(own[0]), own[1], own[2] * tf.cast(factor, tf.float32)

        epoch, step = divmod(start, -(-self.sizes[Split.TRAIN] // whole))

        def epochs() -> Iterator[Batch]:
            nonlocal epoch, step
            while True:
                examples = self._examples(Split.TRAIN, epoch, seed).skip(step * whole)
                yield from _untuned(examples.batch(whole).map(share).prefetch(prefetch))
                epoch, step = epoch + 1, 0

        return NamedBatches(epochs(), lambda _: first_fault(self._examples(Split.TRAIN, epoch, seed), f"epoch {epoch}"))

    def evaluate(self, split: Split, shard: Shard, *, batch: int) -> NamedBatches:
        """Returns one pass over the shard's examples of a split; see `base.Data`."""
        low, high = shard.bounds(self.sizes[split])
        batches = self._examples(split, 0, 0).skip(low).take(high - low).batch(batch)
        prepared = batches.map(lambda x, y, weight: (self._prepared(x), y, weight)).prefetch(2)
        return NamedBatches(
            _untuned(prepared),
            lambda _: first_fault(self._examples(split, 0, 0), f"the {split.value} examples"),
        )

    def _examples(self, split: Split, epoch: int, seed: int) -> tf.data.Dataset:
        """Returns the examples, of which there must be as many as in the first epoch."""
        counted = tf.data.experimental.assert_cardinality(self.sizes[split])
        return self._make(split, epoch, seed).apply(counted)

    def _prepared(self, x: Nested[tf.Tensor]) -> Nested[tf.Tensor]:
        return tf.nest.map_structure(normalize.prepared, x, self.spec.x, self.normalizers)


def first_fault(examples: tf.data.Dataset, where: str) -> str | None:
    """Returns the number and the fault of the first example that cannot be read; None if all can.

    Args:
        examples: Single examples.
        where: Their name, for the message.
    """
    count = 0
    try:
        for _ in _untuned(examples):
            count += 1
    except Exception as error:  # noqa: BLE001 - whatever reading raises names what is wrong
        return f"example {count} of {where} cannot be read: {informative_line(error)}"
    return None


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns autotuning off, as in `pipeline`, and parallel reading of the user's own into a fixed order."""
    options = tf.data.Options()
    options.autotune.enabled, options.deterministic = False, True
    return dataset.with_options(options)
