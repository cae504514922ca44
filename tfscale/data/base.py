"""The interface between sources of examples and the training loop.

A source is a function that returns `Arrays`; `pipeline.ArrayData` makes `Data` of them. For data that does not fit in
memory, implement `Data` and name the class by `_target_`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # sources are read before TensorFlow is imported
    import tensorflow as tf


class Arrays(NamedTuple):
    """A data set in memory.

    Attributes:
        x_train: [N, ...] uint8 or float32; integers below `vocabulary` if that is given.
        y_train: [N] integer classes.
        x_test: [N', ...], dtype and shape of one example as in x_train.
        y_test: [N'] integer classes.
        scale: Factor of a batch of x, as float32: 1/255 for bytes. Ids are not scaled.
        classes: Number of classes.
        vocabulary: Number of ids if x are ids, as in text; the model gets them as int32. None if x are measurements.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    scale: float
    classes: int
    vocabulary: int | None = None


class Shard(NamedTuple):
    """The part of the examples that a replica takes.

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
        vocabulary: Number of ids if x are ids (int32), as in text; None if x are measurements.
        digest: sha256, in hexadecimal, of all examples or of what identifies them, such as the sums of files. All
            processes of a job must have the same, and a resumed run too.
    """

    examples: int
    test_examples: int
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int | None

    @property
    def digest(self) -> str:
        """sha256 of all examples; see the attributes."""
        ...

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> "tf.data.Dataset":
        """Returns endless batches (x [b, ...], y [b], weight [b]) for one replica, b <= B.

        The same arguments give the same batches in the same order, and the examples of a step over all replicas depend
        on B * W only. With the weights, the unweighted mean over replicas of (1 / B) sum(weight * loss) is the mean
        loss over the examples of the step, for the ragged last batch of an epoch too.

        Args:
            shard: The replica's slice of each global batch.
            batch: B.
            seed: Seed of the order; every epoch has an order of its own.
            start: Optimizer steps completed; the first batch is that of step `start`.
            prefetch: Batches to prepare ahead.

        A dataset with `tf.data.Options().autotune.enabled` may delay the end of the run by up to a minute for each
        replica of a process: its tuning thread sleeps that long.
        """
        ...

    def evaluate(self, shard: Shard, *, batch: int) -> Iterable[tuple["tf.Tensor", "tf.Tensor"]]:
        """Returns one pass over the shard's test examples, (x, y); all shards together have every example once."""
        ...
