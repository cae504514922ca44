"""Specs of arrays, and everything about them that is checked before training."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

import numpy as np

from tfscale.data import labels
from tfscale.data.base import Arrays, ArraysOf, Split
from tfscale.data.preprocessing import Preprocessing, class_names
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, Nested, leaves, map_parts, renested

Missing: TypeAlias = Literal["error", "mean", "keep"]
"""Treatment of NaN in inputs: an error, the mean of its column, or none."""

_ROWS = 1 << 14
"""Examples that are looked at at a time."""


def parts(arrays: Arrays) -> tuple[dict[Split, ArraysOf], dict[Split, ArraysOf]]:
    """Returns x and y of the splits that are there."""
    all_x = {
        Split.TRAIN: arrays.x_train,
        Split.TEST: arrays.x_test,
        Split.VALIDATION: arrays.x_validation,
    }
    all_y = {
        Split.TRAIN: arrays.y_train,
        Split.TEST: arrays.y_test,
        Split.VALIDATION: arrays.y_validation,
    }
    x = {split: part for split, part in all_x.items() if part is not None}
    if Split.TRAIN not in x:
        raise UserError("data: x_train must be an array of examples, got None; give it some")
    y = {split: part for split, part in all_y.items() if part is not None}
    for split in Split:
        if (split in y and split not in x) or (Split.TRAIN in y and split in x and split not in y):
            raise UserError(
                f"data: x and y must both be there for {split.value}, got only {'y' if split in y else 'x'}; give both"
            )
        if Split.TRAIN not in y and split in y:
            raise UserError(f"data: y of {split.value} must come with y_train, got None for that; give both")
    for which, parts in (("x", x), ("y", y)):
        for split, nested in parts.items():
            _check_nesting(f"{which}_{_short(split)}", nested, parts[Split.TRAIN])
    return x, y


def _short(split: Split) -> str:
    return {Split.TRAIN: "train", Split.TEST: "test", Split.VALIDATION: "validation"}[split]


def _check_nesting(name: str, nested: object, first: object) -> None:
    parts = leaves(nested) if isinstance(nested, Mapping | tuple) else {"": nested}
    for key, part in parts.items():
        if not isinstance(part, np.ndarray):
            raise UserError(f"data: {_label(name, key)} must be a NumPy array, got {type(part).__name__}; convert it")
    wanted = leaves(first).keys() if isinstance(first, Mapping | tuple) else {""}
    if parts.keys() != set(wanted) or (type(nested) is not type(first) and not isinstance(first, np.ndarray)):
        raise UserError(
            f"data: {name} must have the parts of the training examples ({', '.join(wanted)}), got "
            f"{', '.join(parts)}; give the same"
        )


def _label(name: str, key: str) -> str:
    return f"{name}[{key}]" if key else name


def input_specs(
    x: Mapping[Split, ArraysOf],
    arrays: Arrays,
    missing: Missing,
    names: Mapping[Split, Callable[[int], str]],
) -> Nested[ArraySpec]:
    lengths = {split: {len(part) for part in leaves(nested).values() if part.ndim} for split, nested in x.items()}
    for split, nested in x.items():
        for key, part in leaves(nested).items():
            name = _label(f"x_{_short(split)}", key)
            check_inputs(name, part, arrays.vocabulary)
            if len(lengths[split]) > 1:
                raise UserError(
                    f"data: {name} must have as many examples as the other inputs, got {len(part)} and "
                    f"{max(lengths[split] - {len(part)})}; give each example every input"
                )
            first = leaves(x[Split.TRAIN])[key]
            if part.dtype != first.dtype or part.shape[1:] != first.shape[1:]:
                raise UserError(
                    f"data: {_label('x_train', key)} and {name} must be alike, got {first.dtype} {first.shape[1:]} and "
                    f"{part.dtype} {part.shape[1:]}; convert one of them"
                )
            if part.dtype.kind == "f" and missing != "keep":
                _check_finite(name, part, arrays.columns, missing, names[split])
    return map_parts(
        lambda part: ArraySpec(
            shape=tuple(part.shape[1:]), dtype=str(part.dtype), categories=arrays.vocabulary, names=arrays.columns
        ),
        x[Split.TRAIN],
    )


def check_inputs(name: str, x: np.ndarray, vocabulary: int | None) -> None:
    """Checks shape, dtype and ids of an input, [N, ...].

    Args:
        name: Of the input, for messages.
        x: Some or all examples.
        vocabulary: Number of ids if x are ids; None if x are measurements.

    Raises:
        UserError: They are none that a model takes.
    """
    if x.ndim < 1 or 0 in x.shape:
        raise UserError(
            f"data: {name} must have at least one example and one feature, got shape {x.shape}; give more "
            "examples, or another split"
        )
    if x.ndim < 2:
        raise UserError(
            f"data: {name} must have an axis of features after that of examples, got shape {x.shape}; type "
            "x[:, None] for one feature"
        )
    if x.dtype.kind not in ("iu" if vocabulary is not None else "biuf") or x.dtype.itemsize > 8:
        wanted = "ids, which are whole numbers" if vocabulary is not None else "real numbers"
        raise UserError(f"data: {name} must hold {wanted}, got {x.dtype}; convert it")
    if vocabulary is not None:
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= vocabulary:
            raise UserError(
                f"data: {name} must be from 0 to {vocabulary - 1} (vocabulary={vocabulary}), got {low} to {high}; "
                "renumber"
            )


def chunks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(array), _ROWS):  # a copy of a memory-mapped array, or of all windows of a text, is large
        yield start, np.ascontiguousarray(array[start : start + _ROWS])


def _check_finite(
    name: str, x: np.ndarray, columns: tuple[str, ...] | None, missing: Missing, named: Callable[[int], str]
) -> None:
    for start, rows in chunks(x):
        wrong = np.isinf(rows) if missing == "mean" else ~np.isfinite(rows)
        if wrong.any():
            index = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            column = f", column {columns[index[-1]]}" if columns and len(index) == 2 else ""
            raise UserError(
                f"data: {name} must be finite, got {rows[index]} in {named(start + int(index[0]))}{column}; leave such "
                "examples out, or type data.missing=mean or data.missing=keep"
            )


def target_specs(
    x: Mapping[Split, ArraysOf], y: Mapping[Split, ArraysOf], classes: int | None, learned: Preprocessing | None
) -> tuple[Nested[ArraySpec] | None, dict[Split, ArraysOf]]:
    if not y:
        return None, {}
    specs: dict[str, ArraySpec] = {}
    values: dict[Split, dict[str, np.ndarray]] = {split: {} for split in y}
    for key in leaves(y[Split.TRAIN]):
        parts = {split: leaves(nested)[key] for split, nested in y.items()}
        for split, part in parts.items():
            wanted = len(next(iter(leaves(x[split]).values())))
            if part.ndim < 1 or len(part) != wanted:
                raise UserError(
                    f"data: {_label(f'y_{_short(split)}', key)} must have one target for each example, [{wanted}, "
                    f"...], got shape {part.shape}; give each example its target"
                )
            if part.shape[1:] != parts[Split.TRAIN].shape[1:]:
                raise UserError(
                    f"data: {_label(f'y_{_short(split)}', key)} must have targets of the shape of the training "
                    f"examples' {parts[Split.TRAIN].shape[1:]}, got {part.shape[1:]}; give the same"
                )
        specs[key], numbered = labels.described(_label("y", key), parts, classes, class_names(learned, key))
        for split, part in numbered.items():
            values[split][key] = part
    return renested(specs, y[Split.TRAIN]), {split: renested(parts, y[Split.TRAIN]) for split, parts in values.items()}


def weights(weight: np.ndarray, examples: int) -> np.ndarray:
    if not isinstance(weight, np.ndarray) or weight.shape != (examples,) or weight.dtype.kind not in "iuf":
        got = f"{weight.dtype} {weight.shape}" if isinstance(weight, np.ndarray) else type(weight).__name__
        raise UserError(f"data: weight must be a number for each training example, shape ({examples},), got {got}")
    if not np.isfinite(weight).all() or weight.min() < 0 or not weight.any():
        raise UserError("data: weight must be finite numbers >= 0, not all 0; give other weights")
    return weight.astype(np.float32)
