"""The interface between sources of examples and the training loop.

A source is a function that returns `Arrays`, or a `Source` if its examples do not lie in arrays. `pipeline.IndexedData`
makes `Data` of either. All examples of a source are read by index, so a step needs nothing of the steps before it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from tfscale.data.encoding import Encoding
from tfscale.errors import UserError
from tfscale.specs import ElementSpec, Nested

if TYPE_CHECKING:  # sources are read before TensorFlow is imported
    import tensorflow as tf

Batch: TypeAlias = "tuple[Nested[tf.Tensor], Nested[tf.Tensor], tf.Tensor]"
"""x [b, ...], y [b, ...], weight [b]; y is () if there are no targets."""

ArraysOf: TypeAlias = Nested[np.ndarray]


class Split(Enum):
    """A part of the examples: only `TRAIN` changes parameters, and nothing depends on `TEST`."""

    TRAIN = "training"
    VALIDATION = "validation"
    TEST = "test"


class Arrays(NamedTuple):
    """A data set as NumPy arrays, in memory or memory-mapped; N, N' and N'' examples.

    x and y are an array, or a dictionary or tuple of arrays for models with several inputs or outputs.

    Attributes:
        x_train: [N, ...] numbers; integers below `vocabulary` if that is given.
        y_train: [N] or [N, ...]: class numbers or names, one-hot rows, or measurements; None without targets.
        x_test: [N', ...], dtype and shape of one example as in x_train; None without test examples.
        y_test: [N', ...], like y_train.
        scale: Factor of a batch of x, as float32: 1/255 for bytes; None for that of the dtype. Ids are not scaled.
        classes: Number of classes; None for one more than the largest class number.
        vocabulary: Number of ids if x are ids, as in text; the model gets them as int32. None if x are measurements.
        x_validation: [N'', ...], like x_test; None without validation examples.
        y_validation: [N'', ...], like y_train.
        weight: [N] weight of each training example in the loss; None for 1.
        columns: Name of each column of x, where x is a table, or of each id, where x are ids.
        names: Split and index -> name of an example for messages, such as its file and line; None for its number.
        skipped: Number of examples that the source has left out because they cannot be read.
        encoding: The way from texts or table rows to x; None where x are the raw values.
        warnings: Sentences about the examples for the user.
        column: Split and name -> a column of the data as it was read, [N], such as the keys of the examples; None
            without columns.
    """

    x_train: ArraysOf
    y_train: ArraysOf | None
    x_test: ArraysOf | None = None
    y_test: ArraysOf | None = None
    scale: float | None = None
    classes: int | None = None
    vocabulary: int | None = None
    x_validation: ArraysOf | None = None
    y_validation: ArraysOf | None = None
    weight: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    names: Callable[[Split, int], str] | None = None
    skipped: int = 0
    encoding: Encoding | None = None
    warnings: tuple[str, ...] = ()
    column: Callable[[Split, str], np.ndarray] | None = None


class Shard(NamedTuple):
    """The part of the examples that a replica takes.

    Attributes:
        rank: The replica's global index.
        size: W.
        block: Examples that are not divided: the first of them has a number that is a multiple of it.
    """

    rank: int
    size: int
    block: int = 1

    def bounds(self, total: int) -> tuple[int, int]:
        """Returns the first example of a single pass that the replica takes, and the one after its last."""
        blocks = -(-total // self.block)
        low, high = (min(total, self.block * (blocks * rank // self.size)) for rank in (self.rank, self.rank + 1))
        return low, high


class Examples(Protocol):
    """Examples that are read by index."""

    @property
    def is_slow(self) -> bool:
        """True to read each step by itself, on all cores; False to read several steps at once, which is quick."""
        ...

    def __len__(self) -> int:
        """Returns the number of examples N."""
        ...

    def read(self, indices: "tf.Tensor") -> "Batch":
        """Returns the examples [b] of indices [b] int64, 0 to N - 1, inside a graph."""
        ...

    def name(self, index: int) -> str:
        """Returns the name of an example for messages, such as its file and line."""
        ...

    def targets(self) -> Nested[np.ndarray] | None:
        """Returns the targets of all examples, [N, ...], to stratify and balance by; None if there are none."""
        ...

    def column(self, name: str) -> np.ndarray:
        """Returns a column of the data as it was read, [N].

        Raises:
            UserError: There is none of that name.
        """
        ...


def no_column(name: str) -> UserError:
    """Returns the error of `Examples.column` for data without columns."""
    return UserError(f"the data have no column {name}, as they are no table; leave it out")


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Preparation of an input that holds measurements: (x - offset) * factor, in float32.

    Attributes:
        offset: [columns] or [channels]; None for 0.
        factor: A number, or one for each column or channel; None for 1.
        fill: What NaN becomes before that, for each column; None to keep NaN.
    """

    offset: np.ndarray | None = None
    factor: np.ndarray | float | None = None
    fill: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set.

    Attributes:
        spec: Of one example.
        examples: The examples of each split that the source has.
        digest: sha256, in hexadecimal, of all examples or of what identifies them, such as the sums of files.
        normalizers: Of each input; ids have none.
        skipped: Number of examples left out because they cannot be read.
        warnings: Sentences about the examples for the user.
        not_finite: Clause about the first input that is NaN or infinite, where a source finds one and leaves it to
            `data.missing`; None where there is none, or where nothing looks.
        encoding: The way from texts or table rows to numbers; None where the data are numbers.
        contents: Split -> sha256 of what its examples are read from, where `digest` has names and sizes alone; None
            where `digest` has everything.
    """

    spec: ElementSpec
    examples: Mapping[Split, Examples]
    digest: str
    normalizers: Nested[Normalizer] = Normalizer()
    skipped: int = 0
    warnings: tuple[str, ...] = ()
    not_finite: str | None = None
    encoding: Encoding | None = None
    contents: Callable[[Split], str] | None = None


@runtime_checkable
class Data(Protocol):
    """Batches of examples for any number of replicas."""

    @property
    def spec(self) -> ElementSpec:
        """One example, as the source has it."""
        ...

    @property
    def sizes(self) -> Mapping[Split, int]:
        """Number of examples of each split; an epoch is ceil(N / (B * W)) steps of the N training examples."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of all examples and of what is done to them.

        All processes of a job must have the same, and a resumed run too.
        """
        ...

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> "Iterable[Batch]":
        """Returns endless batches (x [b, ...], y [b, ...], weight [b]) for one replica, b <= B.

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

    def evaluate(self, split: Split, shard, *, batch: int) -> "Iterable[Batch]":
        """Returns one pass over the shard's examples of a split; all shards together have every example once."""
        ...


def is_mapped(nested: Any) -> bool:
    """Returns whether an array is memory-mapped, and so read in parts."""
    return isinstance(nested, np.memmap) or isinstance(getattr(nested, "base", None), np.memmap)
