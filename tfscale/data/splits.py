"""Holds examples out of the training set: for validation, and for a test where the source has none.

The split depends on the source, the fractions and the split's own seed, so it is the same for every number of replicas
and every seed of the weights.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import tensorflow as tf

from tfscale.data.balance import classes_of
from tfscale.data.base import ArraysOf, Batch, Examples, Source, Split
from tfscale.errors import UserError


@final
class Subset:
    """Some of the examples of another set; implements `base.Examples`.

    Args:
        examples: The other set.
        indices: [n] int64, in the order of the subset.
    """

    def __init__(self, examples: Examples, indices: np.ndarray) -> None:
        self._examples, self.indices, self.is_slow = examples, np.asarray(indices, np.int64), examples.is_slow
        with tf.device("/CPU:0"):
            self._tensor = tf.constant(self.indices)

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.indices)

    def read(self, indices: tf.Tensor) -> Batch:
        """Returns the examples of indices; see `base.Examples`."""
        return self._examples.read(tf.gather(self._tensor, indices))

    def name(self, index: int) -> str:
        """Returns the name of an example; see `base.Examples`."""
        return self._examples.name(int(self.indices[index]))

    def column(self, name: str) -> np.ndarray:
        """Returns a column of the data, [n]; see `base.Examples`."""
        return self._examples.column(name)[self.indices]

    def targets(self) -> ArraysOf | None:
        """Returns all targets, [n, ...]."""
        everything = self._examples.targets()
        if everything is None:
            return None
        return tf.nest.map_structure(lambda part: part[self.indices], everything)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Fractions that are held out.

    Attributes:
        validation: Fraction of the training examples for validation; None for the source's own, if it has any.
        test: Fraction of the training examples for the test; None for the source's own, if it has any.
        stratify: Whether each class has its share in each split.
        seed: Of the split.
    """

    validation: float | None
    test: float | None
    stratify: bool
    seed: int


def hold_out(source: Source, held: Held) -> Source:
    """Returns the source with the fractions held out of its training examples.

    Raises:
        UserError: The source has such examples of its own; a split would be empty; or the targets are not classes to
            stratify by.
    """
    for split, fraction in ((Split.VALIDATION, held.validation), (Split.TEST, held.test)):
        if fraction is not None and split in source.examples:
            raise UserError(
                f"data.{_key(split)} must be null, as the data have {split.value} examples of their own, got "
                f"{fraction:g}; leave it out"
            )
    train = source.examples[Split.TRAIN]
    taken: dict[Split, np.ndarray] = {}
    rest = np.arange(len(train))
    for split, fraction in ((Split.TEST, held.test), (Split.VALIDATION, held.validation)):
        if fraction is not None:
            rest, taken[split] = _divided(source, rest, round(fraction * len(train)), held, split)
    if not taken:
        return source
    subsets = {split: Subset(train, indices) for split, indices in {Split.TRAIN: rest, **taken}.items()}
    digest = hashlib.sha256(f"{source.digest} {held}".encode()).hexdigest()
    return replace(source, examples={**source.examples, **subsets}, digest=digest)


def _key(split: Split) -> str:
    return "validation" if split is Split.VALIDATION else "test"


def _divided(source: Source, among: np.ndarray, size: int, held: Held, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rest and the part of the given size, both in rising order."""
    from sklearn.model_selection import train_test_split  # takes a second, and only a split needs it

    if not 0 < size < len(among):
        raise UserError(
            f"data.{_key(split)} must leave training examples and hold at least one out, got {size} of {len(among)}; "
            "give another fraction"
        )
    classes = classes_of(source, "data.stratify=true")[among] if held.stratify else None
    try:
        rest, part = train_test_split(among, test_size=size, random_state=held.seed, stratify=classes)
    except ValueError as error:
        raise UserError(f"data.stratify=true is not possible: {error}; type data.stratify=false") from None
    return np.sort(rest), np.sort(part)
