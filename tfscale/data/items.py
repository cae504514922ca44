"""Examples of any object that gives a dictionary for an index: what datasets and tensorflow_datasets have in common.

Items are read in Python, one by one, so reading runs on one core at a time; sources of files that TensorFlow decodes
itself are quicker.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, final

import numpy as np
import tensorflow as tf

from tfscale.data import array_specs, labels, normalize
from tfscale.data.base import ArraysOf, Batch, Normalizer, Source, Split, no_column
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves, map_parts, renested

SAMPLED = 64
"""Items of each split whose inputs the digest covers, evenly spaced; it covers all targets."""


class Items(Protocol):
    """Examples by index."""

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Mapping[str, object]:
        """Returns the values of an example by key; each can be made a NumPy array."""
        ...


@final
class ItemExamples:
    """Items as examples; implements `base.Examples`.

    Args:
        items: The items.
        keys: Key of the input, or a dictionary of keys by themselves for several.
        spec: Of the inputs, nested like `keys`.
        targets: [N, ...] targets; None without.
        name: Index -> name of an item.
    """

    is_slow = True

    def __init__(
        self,
        items: Items,
        keys: Nested[str],
        spec: Nested[ArraySpec],
        targets: ArraysOf | None,
        name: Callable[[int], str],
    ) -> None:
        self._items, self._keys, self._targets, self._name = items, keys, targets, name
        self._specs = leaves(spec)
        with tf.device("/CPU:0"):
            self._tensors = () if targets is None else map_parts(tf.constant, targets)

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self._items)

    def read(self, indices: tf.Tensor) -> Batch:
        """Returns the examples of indices; see `base.Examples`."""
        dtypes = [tf.as_dtype(spec.dtype) for spec in self._specs.values()]
        read = tf.numpy_function(self._rows, [indices], dtypes, stateful=False)  # one tensor if eager and of one input
        shaped = {
            name: tf.ensure_shape(part, [None, *spec.shape])
            for (name, spec), part in zip(self._specs.items(), tf.nest.flatten(read), strict=True)
        }
        x = renested(shaped, self._keys)
        y = tf.nest.map_structure(lambda part: tf.gather(part, indices), self._tensors)
        return x, y, tf.ones(tf.shape(indices))

    def _rows(self, indices: np.ndarray) -> list[np.ndarray]:
        """Returns each input of the items of indices.

        Raises:
            ValueError: An item is not like the first one.
        """
        items = [self._items[int(index)] for index in indices]
        return [
            np.stack([_like(spec, value_of(item, key)) for item in items])
            for spec, key in zip(self._specs.values(), leaves(self._keys).values(), strict=True)
        ]

    def name(self, index: int) -> str:
        """Returns the name of an item."""
        return self._name(index)

    def column(self, name: str) -> np.ndarray:
        """Raises UserError: there are no columns."""
        raise no_column(name)

    def targets(self) -> ArraysOf | None:
        """Returns all targets, [N, ...]."""
        return self._targets


def _like(spec: ArraySpec, value: np.ndarray) -> np.ndarray:
    if value.shape != spec.shape or str(value.dtype) != spec.dtype:
        raise ValueError(f"it must be {spec.dtype} {spec.shape} like the first one, got {value.dtype} {value.shape}")
    if spec.categories is not None and (value.min() < 0 or value.max() >= spec.categories):
        raise ValueError(f"its ids must be from 0 to {spec.categories - 1}, got {value.min()} to {value.max()}")
    return value


def value_of(item: Mapping[str, object], key: str) -> np.ndarray:
    """Returns an input of an item; a single number is a row of length 1."""
    return np.atleast_1d(np.asarray(item[key]))


def column(items: Items, key: str) -> np.ndarray:
    """Returns the values of a key, [N, ...]; reads all items."""
    return np.stack([np.asarray(items[index][key]) for index in range(len(items))])


def source_of_items(
    items: Mapping[Split, Items],
    *,
    where: str,
    inputs: str | Sequence[str] | None,
    label: str | None,
    vocabulary: int | None,
    targets: Mapping[Split, np.ndarray],
    class_names: Sequence[str] | None = None,
    warnings: tuple[str, ...] = (),
) -> Source:
    """Returns the source that items are.

    Args:
        items: Of each split.
        where: What they are of, for messages.
        inputs: Key of the input, or keys of several; None for the only one beside the label.
        label: Key of the target; None without.
        vocabulary: Number of ids if x are ids; None if x are measurements.
        targets: [N, ...] of each split; empty without a label.
        class_names: Name of each class, if the targets are class numbers that have names.
        warnings: Sentences about the examples for the user.

    Raises:
        UserError: A split is empty, a key is none of an item's, or a value is not what a model takes.
    """
    for split, each in items.items():
        if not len(each):
            raise UserError(f"data: {where} must have {split.value} examples, got none; leave the split out")
    first = items[Split.TRAIN][0]
    keys = _keys(first, where, inputs, label)
    x = map_parts(lambda key: _spec(key, value_of(first, key), vocabulary), keys)
    y, numbered = _described(targets, class_names)
    scale, more = normalize.automatic_scale(x)
    return Source(
        spec=ElementSpec(x=x, y=y),
        examples={
            split: ItemExamples(each, keys, x, numbered.get(split), _name(where, split))
            for split, each in items.items()
        },
        digest=_digest(items, leaves(keys), numbered, (x, y)),
        normalizers=map_parts(lambda spec: Normalizer() if spec.categories else Normalizer(factor=scale), x),
        warnings=(*warnings, *more),
    )


def require_key(item: Mapping[str, object], where: str, key: str, name: str) -> None:
    """Checks that items have a key.

    Args:
        item: One of them.
        where: What they are of, for messages.
        key: Of the configuration, for messages.
        name: The key of the items.

    Raises:
        UserError: They do not.
    """
    if name not in item:
        raise UserError(f"data.{key} must name a key of {where} ({', '.join(item)}), got {name}; correct the name")


def _keys(item: Mapping[str, object], where: str, inputs: str | Sequence[str] | None, label: str | None) -> Nested[str]:
    others = [key for key in item if key != label]
    wanted = others if inputs is None else [inputs] if isinstance(inputs, str) else list(inputs)
    if inputs is None and len(others) != 1:
        raise UserError(
            f"data.inputs must name the inputs of {where}, which has {', '.join(item)}; type data.inputs=KEY, or "
            "data.inputs=[KEY,KEY] for a model with several"
        )
    for key in wanted:
        require_key(item, where, "inputs", key)
    return wanted[0] if len(wanted) == 1 else {key: key for key in wanted}


def _spec(key: str, value: np.ndarray, vocabulary: int | None) -> ArraySpec:
    array_specs.check_inputs(f"the input {key}", value[np.newaxis], vocabulary)
    return ArraySpec(shape=value.shape, dtype=str(value.dtype), categories=vocabulary)


def _described(
    targets: Mapping[Split, np.ndarray], class_names: Sequence[str] | None
) -> tuple[ArraySpec | None, Mapping[Split, np.ndarray]]:
    if not targets:
        return None, {}
    spec, numbered = labels.described("y", targets, None if class_names is None else len(class_names))
    if class_names is not None:
        spec = replace(spec, names=tuple(class_names))
    return spec, numbered


def _name(where: str, split: Split) -> Callable[[int], str]:
    return lambda index: f"{split.value} example {index} of {where}"


def _digest(
    items: Mapping[Split, Items], keys: Mapping[str, str], targets: Mapping[Split, np.ndarray], specs: object
) -> str:
    total = hashlib.sha256(repr(specs).encode())
    for split, each in items.items():
        total.update(f"{split.value} {len(each)}".encode())
        if split in targets:
            total.update(np.ascontiguousarray(targets[split]).tobytes())
        for index in sorted({int(place) for place in np.linspace(0, len(each) - 1, SAMPLED)}):
            item = each[index]
            for key in keys.values():
                total.update(np.ascontiguousarray(value_of(item, key)).tobytes())
    return total.hexdigest()
