"""Specs and normalizers in JSON documents: of exported shards, and of what a run has learned from its data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from tfscale.data.base import Normalizer
from tfscale.specs import ArraySpec, Nested

T = TypeVar("T")


class Part(BaseModel):
    """A part of a document: no other keys than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SavedTensor(Part):
    """One tensor of an example: its name among inputs or targets, and the fields of `ArraySpec`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    categories: int | None
    names: tuple[str, ...] | None
    examples: int | None
    one_hot: bool

    @property
    def spec(self) -> ArraySpec:
        """The spec of the tensor."""
        return ArraySpec(
            shape=self.shape,
            dtype=self.dtype,
            categories=self.categories,
            names=self.names,
            examples=self.examples,
            one_hot=self.one_hot,
        )


Nesting = Literal["one", "mapping", "tuple"]


def nesting_of(nested: object) -> Nesting:
    """Returns how tensors are nested."""
    return "mapping" if isinstance(nested, Mapping) else "tuple" if isinstance(nested, tuple) else "one"


def nested(nesting: Nesting, parts: Sequence[SavedTensor], function: Callable[[Any], T]) -> Nested[T]:
    """Applies a function to each part, and nests the results as the tensors were."""
    return renest(nesting, parts, [function(part) for part in parts])


def renest(nesting: Nesting, parts: Sequence[SavedTensor], values: Sequence[T]) -> Nested[T]:
    """Nests a value for each part as the tensors were."""
    if nesting == "one":
        return values[0]
    if nesting == "tuple":
        return tuple(values)
    return {part.name: value for part, value in zip(parts, values, strict=True)}


class Scaling(Part):
    """A `Normalizer` as numbers: JSON keeps every float64."""

    offset: list[Any] | None
    factor: list[Any] | float | None
    fill: list[Any] | None

    @property
    def normalizer(self) -> Normalizer:
        """The normalizer."""
        factor = np.asarray(self.factor, np.float64) if isinstance(self.factor, list) else self.factor
        offset, fill = (None if each is None else np.asarray(each, np.float64) for each in (self.offset, self.fill))
        return Normalizer(offset=offset, factor=factor, fill=fill)


def scaling(normalizer: Normalizer) -> Scaling:
    """Returns a normalizer as numbers."""

    def numbers(value: np.ndarray | float | None) -> Any:
        return value if value is None else np.asarray(value, np.float64).tolist()

    return Scaling(offset=numbers(normalizer.offset), factor=numbers(normalizer.factor), fill=numbers(normalizer.fill))
