"""One pass over datasets of examples: how many there are, what they look like, and what their targets mean.

Everything that `arrays` checks of arrays is checked here of what the datasets yield, before training.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfscale.data import array_specs, labels
from tfscale.data.base import Split
from tfscale.data.sequential import first_fault
from tfscale.errors import UserError, informative_line
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves, map_parts, renested

Example: TypeAlias = tuple[Nested[Any], Nested[Any], Any]
"""x, y and weight; y is () without targets."""

FIRST = 16
"""Examples at the beginning that the digest covers, beside the last one, and that must come again."""

_ROWS = 256
"""Examples that are looked at at a time."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Facts of datasets.

    Attributes:
        spec: Of one example.
        sizes: Number of examples of each split.
        digest: sha256 of the first and the last examples, and of the numbers of examples.
        encode: Targets of an example as the dataset has them -> as the spec says: class names become numbers.
    """

    spec: ElementSpec
    sizes: Mapping[Split, int]
    digest: str
    encode: Callable[[Nested[tf.Tensor]], Nested[tf.Tensor]]


def roles(*parts: Any) -> Example:
    """Returns x, y and weight of an element: (x,), (x, y), (x, y, weight), or a dictionary with these keys.

    Raises:
        UserError: It is something else.
    """
    named = ("x", "y", "weight")
    if len(parts) == 1 and isinstance(parts[0], Mapping) and "x" in parts[0]:
        unknown = [key for key in parts[0] if key not in named]
        if unknown:
            raise UserError(f"data.function must give the keys x, y and weight, got {unknown[0]}; leave it out")
        found = {key: parts[0][key] for key in named if key in parts[0]}
    elif len(parts) <= len(named):
        found = dict(zip(named, parts, strict=False))
    else:
        raise UserError(f"data.function must give (x, y) or (x, y, weight), got {len(parts)} parts; nest the inputs")
    for key, part in found.items():
        one = all(isinstance(each, tf.Tensor) for each in leaves(part).values())
        if not one or (key == "weight" and not isinstance(part, tf.Tensor)):
            raise UserError(f"data.function must give tensors, or a dictionary or tuple of them, as {key}; convert it")
    return found["x"], found.get("y", ()), tf.cast(found.get("weight", 1.0), tf.float32)


def counted(datasets: Mapping[Split, tf.data.Dataset], vocabulary: int | None) -> Counted:
    """Reads all examples once.

    Args:
        datasets: Examples (x, y, weight) of each split.
        vocabulary: Number of ids if x are ids; None if x are measurements.

    Raises:
        UserError: A split is empty, an example cannot be read, or x or y are not what a model or task takes.
    """
    total = hashlib.sha256()
    passes = {split: _Pass.over(split, dataset, vocabulary, total) for split, dataset in datasets.items()}
    train = passes[Split.TRAIN]
    for split, each in passes.items():
        if each.x != train.x:
            raise UserError(
                f"data.function must give x alike in all splits, got {train.x} for training and {each.x} for "
                f"{split.value}; convert one of them"
            )
    targets, encode = _targets({split: each.y for split, each in passes.items()})
    total.update(repr((train.x, targets)).encode())
    weighted = any(each.weighted for each in passes.values())
    return Counted(
        spec=ElementSpec(x=train.x, y=targets, weighted=weighted),
        sizes={split: each.size for split, each in passes.items()},
        digest=total.hexdigest(),
        encode=encode,
    )


def start_of(dataset: tf.data.Dataset) -> str:
    """Returns the digest of the first examples, which another call must give again."""
    total = hashlib.sha256()
    for example in dataset.take(FIRST):
        _update(total, example)
    return total.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """Result of a pass over one split: y are the targets of all examples, [N, ...] by name."""

    x: Nested[ArraySpec]
    y: Nested[np.ndarray]
    size: int
    weighted: bool

    @classmethod
    def over(cls, split: Split, dataset: tf.data.Dataset, vocabulary: int | None, total: Any) -> "_Pass":
        """Reads all examples of a split."""
        size, weighted, targets, batch = 0, False, [], None
        try:
            for batch in dataset.batch(_ROWS):
                x, y, weight = batch
                for name, part in leaves(x).items():
                    _check_inputs(f"x{f'[{name}]' if name else ''}", part.numpy(), vocabulary, size, split)
                if size == 0:
                    for index in range(min(FIRST, len(weight))):
                        _update(total, tf.nest.map_structure(lambda part, at=index: part[at], batch))
                weighted = weighted or bool(np.any(weight.numpy() != 1))
                _check_weights(weight.numpy(), size, split)
                targets.append(tf.nest.map_structure(lambda part: part.numpy(), y))
                size += len(weight)
        except tf.errors.OpError as error:
            named = first_fault(dataset, f"the {split.value} examples of data.function")
            raise UserError(
                f"data: {named or informative_line(error)}; examples must have one shape and dtype"
            ) from None
        if batch is None:
            raise UserError(f"data.function must give {split.value} examples, got none; give some, or None for none")
        _update(total, tf.nest.map_structure(lambda part: part[-1], batch))
        total.update(f"{split.value} {size}".encode())
        return cls(
            x=map_parts(lambda part: _spec(part, vocabulary), batch[0]),
            y=tf.nest.map_structure(lambda *parts: np.concatenate(parts), *targets),
            size=size,
            weighted=weighted,
        )


def _spec(part: tf.Tensor, vocabulary: int | None) -> ArraySpec:
    return ArraySpec(shape=part.numpy().shape[1:], dtype=part.dtype.name, categories=vocabulary)


def _check_inputs(name: str, x: np.ndarray, vocabulary: int | None, before: int, split: Split) -> None:
    array_specs.check_inputs(f"{name} of data.function", x, vocabulary)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        index = before + int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
        raise UserError(
            f"data: {name} must be finite, got a value that is not in {split.value} example {index} of data.function; "
            "leave such examples out"
        )


def _check_weights(weight: np.ndarray, before: int, split: Split) -> None:
    wrong = ~np.isfinite(weight) | (weight < 0)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise UserError(
            f"data: weight must be a finite number >= 0, got {weight[index]} in {split.value} example "
            f"{before + index} of data.function; correct it"
        )


def _targets(
    y: Mapping[Split, Nested[np.ndarray]],
) -> tuple[Nested[ArraySpec] | None, Callable[[Nested[tf.Tensor]], Nested[tf.Tensor]]]:
    """Returns the spec of the targets, and the function that encodes them."""
    train = y[Split.TRAIN]
    names = leaves(train).keys()
    for split, nested in y.items():
        if leaves(nested).keys() != names:
            raise UserError(f"data.function must give y alike in all splits, got another one for {split.value}")
    if not names:
        return None, lambda targets: targets
    specs = {
        name: labels.described(
            f"y[{name}]" if name else "y", {split: leaves(nested)[name] for split, nested in y.items()}, None
        )[0]
        for name in names
    }
    encoders = {name: _encoder(spec) for name, spec in specs.items()}

    def encode(targets: Nested[tf.Tensor]) -> Nested[tf.Tensor]:
        encoded = {
            name: encoders[name](tf.ensure_shape(part, specs[name].shape)) for name, part in leaves(targets).items()
        }
        return renested(encoded, targets)

    return renested(specs, train), encode


def _encoder(spec: ArraySpec) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function for one target, which refuses a class that the counting pass has not seen."""
    if spec.names is not None:
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(list(spec.names), tf.range(len(spec.names), dtype=tf.int32)), -1
        )
        lookup: Callable[[tf.Tensor], tf.Tensor] = table.lookup
    elif spec.categories is None or spec.dtype.startswith(("float", "bool")):
        return lambda y: y
    else:
        lookup = tf.identity
    highest = (spec.categories or 0) - 1

    def encode(y: tf.Tensor) -> tf.Tensor:
        numbers = lookup(y)
        message = f"a class that the first epoch did not have; classes are 0 to {highest}"
        fits = (tf.cast(numbers, tf.int64) >= 0) & (tf.cast(numbers, tf.int64) <= highest)
        with tf.control_dependencies([tf.debugging.assert_equal(fits, True, message=message)]):
            return tf.identity(numbers)

    return encode


def _update(total: Any, example: Nested[Any]) -> None:
    for part in tf.nest.flatten(example):
        values = part.numpy()
        total.update(repr((part.dtype.name, part.shape)).encode())
        total.update(values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes())
