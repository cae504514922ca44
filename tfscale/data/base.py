"""The data seam.

A source is a function that returns `Arrays`; `pipeline.ArrayData` turns those into `Data`. Whoever has data that does
not fit in memory implements `Data` and names the class by `_target_`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # sources are read before TensorFlow is imported
    import tensorflow as tf


class Arrays(NamedTuple):
    """A data set in memory.

    Attributes:
        x_train: [N, ...] uint8 or float32; whole numbers below `vocabulary` where that is given.
        y_train: [N] integer classes.
        x_test: [N', ...], like x_train.
        y_test: [N'].
        scale: What a batch of x is multiplied by as float32: 1/255 for bytes. Ids are not multiplied.
        classes: Number of classes.
        vocabulary: How many ids there are where x are ids, as in text; they reach the model as int32. None: x are
            measurements.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    scale: float
    classes: int
    vocabulary: int | None = None


class Shard(NamedTuple):
    """Which part of the whole a replica takes.

    Attributes:
        rank: The replica's global index.
        size: W.
    """

    rank: int
    size: int


@runtime_checkable
class Data(Protocol):
    """Training and test examples for any number of replicas.

    Attributes:
        examples: Number of training examples N; an epoch is ceil(N / (B * W)) steps.
        test_examples: Number of test examples.
        input_shape: Shape of one x.
        classes: Number of classes.
        vocabulary: How many ids there are where x are ids (int32), as in text; None where x are measurements.
        digest: sha256, in hexadecimal, of all examples or of what stands for them, such as the sums of files: all
            processes must read the same, and a resumed run, too.
    """

    examples: int
    test_examples: int
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int | None

    @property
    def digest(self) -> str:
        """See above."""
        ...

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> "tf.data.Dataset":
        """Endless batches (x [b, ...], y [b], weight [b]) for one replica, b <= B.

        The same arguments give the same batches in the same order, and the examples of a step over all replicas do not
        depend on W as long as B * W is the same. Weights make the plain mean over replicas of
        (1 / B) sum(weight * loss) the mean loss over the examples of the step, ragged last batch of an epoch included.

        Args:
            shard: Which slice of each global batch.
            batch: B.
            seed: Of the order; every epoch has its own.
            start: Optimizer steps completed: the first batch is that of step `start`.
            prefetch: How many batches to prepare ahead.

        A dataset that tf.data tunes (`tf.data.Options().autotune.enabled`) may let the run's end wait, up to a minute
        for each replica of a process: its tuning thread sleeps, and does not always notice.
        """
        ...

    def evaluate(self, shard: Shard, *, batch: int) -> Iterable[tuple["tf.Tensor", "tf.Tensor"]]:
        """One pass over the shard's test examples, (x, y); over all shards nothing is dropped or counted twice."""
        ...
