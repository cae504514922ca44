"""Specs of an example's tensors: what sources offer, tasks require and models are built for.

An example has inputs x, targets y and perhaps a weight. x and y are one tensor each, or a dictionary or tuple of
tensors: one level of nesting is what Keras models with several inputs and outputs take.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
Nested = T | Mapping[str, T] | tuple[T, ...]
"""One thing for each tensor of x or y."""


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One tensor of an example.

    Attributes:
        shape: Of one example, without the batch axis.
        dtype: NumPy's name of the values as the source has them, such as uint8.
        categories: Number of classes or ids if the values are whole numbers below it; None for measurements.
        names: Name of each class of a target, or of each column or id of an input, where the source has names.
        examples: Number of training examples, where it is known.
        one_hot: Whether the last axis holds one 1 and otherwise 0, which names a class.
    """

    shape: tuple[int, ...]
    dtype: str
    categories: int | None = None
    names: tuple[str, ...] | None = None
    examples: int | None = field(default=None, compare=False)
    one_hot: bool = False

    def __str__(self) -> str:
        kind = "measurements" if self.categories is None else f"{self.categories} categories"
        return f"{self.dtype} {self.shape}, {kind}"


@dataclass(frozen=True, kw_only=True)
class ElementSpec:
    """One example.

    Attributes:
        x: Inputs.
        y: Targets; None if the source has none, as for an autoencoder.
        weighted: Whether each example has a weight.
    """

    x: Nested[ArraySpec]
    y: Nested[ArraySpec] | None
    weighted: bool = False


def leaves(nested: Nested[T]) -> dict[str, T]:
    """Returns the parts by name; a single tensor has the name "", a tuple's parts are numbered from 0."""
    if isinstance(nested, Mapping):
        return dict(nested)
    if isinstance(nested, tuple):
        return {str(index): part for index, part in enumerate(nested)}
    return {"": nested}


def map_parts(function: Callable[[T], R], nested: Nested[T]) -> Nested[R]:
    """Applies a function to each part."""
    if isinstance(nested, Mapping):
        return {name: function(part) for name, part in nested.items()}
    return tuple(function(part) for part in nested) if isinstance(nested, tuple) else function(nested)


def renested(parts: Mapping[str, T], like: object) -> Nested[T]:
    """Returns parts by name, as `leaves` gave them, in the nesting of another value."""
    if isinstance(like, Mapping):
        return dict(parts)
    return tuple(parts.values()) if isinstance(like, tuple) else parts[""]
