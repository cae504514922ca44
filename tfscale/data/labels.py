"""Specs of target arrays: class numbers, class names, one-hot rows, rows of 0 and 1, or measurements.

What targets mean is decided from all of their values, before training. Nothing is cast here: names become numbers,
which is exact, and everything else is kept as it is.
"""

from collections.abc import Mapping

import numpy as np

from tfscale.data.base import Split
from tfscale.errors import UserError
from tfscale.specs import ArraySpec

MOST_CLASSES = 1_000_000
"""Whole numbers from here on are measurements, not classes."""


def described(
    name: str, parts: Mapping[Split, np.ndarray], classes: int | None, names: tuple[str, ...] | None = None
) -> tuple[ArraySpec, Mapping[Split, np.ndarray]]:
    """Returns the spec of a target, and its values with class names replaced by numbers.

    Args:
        name: Of the target, for messages.
        parts: [N, ...] of each split.
        classes: Number of classes, where it is known.
        names: Of the classes, where they are known; None for those of the training examples.

    Raises:
        UserError: The dtype is no target's, a number is not finite or no class, or a name is not among those of the
            training examples.
    """
    for split, part in parts.items():
        _check_dtype(f"{name} ({split.value})", part)
    first = parts[Split.TRAIN]
    shape = tuple(first.shape[1:])
    kinds = {part.dtype.kind for part in parts.values()}
    if kinds & set("USO") or names is not None:
        names, numbered = _numbered(name, parts, names)
        return ArraySpec(shape=shape, dtype="str", categories=len(names), names=names), numbered
    if kinds == {"f"}:
        return _measured(name, parts, shape), parts
    if "f" in kinds:
        raise UserError(f"data: {name} must have one dtype in all splits, got {_dtypes(parts)}; convert one of them")
    return _whole(name, parts, shape, classes), parts


def _check_dtype(name: str, part: np.ndarray) -> None:
    if part.dtype.kind in "biu" or (part.dtype.kind == "f" and part.dtype.itemsize <= 8) or part.dtype.kind == "U":
        return
    if part.dtype.kind in "SO" and all(isinstance(each, str | bytes) for each in part.reshape(-1)):
        return
    raise UserError(f"data: {name} must be numbers or class names, got {part.dtype}; convert it")


def _dtypes(parts: Mapping[Split, np.ndarray]) -> str:
    return ", ".join(f"{part.dtype} for {split.value}" for split, part in parts.items())


def _numbered(
    name: str, parts: Mapping[Split, np.ndarray], known: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[Split, np.ndarray]]:
    """Replaces names by their places in the sorted names of the training examples."""
    texts = {split: _texts(part) for split, part in parts.items()}
    names = np.unique(texts[Split.TRAIN]) if known is None else np.asarray(known)
    numbered = {}
    for split, part in texts.items():
        unknown = np.setdiff1d(part, names)
        if len(unknown):
            raise UserError(
                f"data: {name} ({split.value}) has the class {str(unknown[0])!r}, which no training example has; add "
                "one, or leave these examples out"
            )
        numbered[split] = np.searchsorted(names, part).astype(np.int32)
    return tuple(str(each) for each in names), numbered


def _texts(part: np.ndarray) -> np.ndarray:
    if part.dtype.kind == "U":
        return part
    decoded = [each.decode() if isinstance(each, bytes) else str(each) for each in part.reshape(-1)]
    return np.asarray(decoded).reshape(part.shape)


def _measured(name: str, parts: Mapping[Split, np.ndarray], shape: tuple[int, ...]) -> ArraySpec:
    for split, part in parts.items():
        if not np.isfinite(part).all():
            raise UserError(
                f"data: {name} ({split.value}) must be finite, got {_first_not_finite(part)}; leave these examples out"
            )
    dtype = str(parts[Split.TRAIN].dtype)
    if all(_is_zero_or_one(part) for part in parts.values()):
        return ArraySpec(shape=shape, dtype=dtype, categories=2, one_hot=_is_one_hot(parts, shape))
    return ArraySpec(shape=shape, dtype=dtype)


def _first_not_finite(part: np.ndarray) -> str:
    index = int(np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(axis=1))[0])
    return f"{part[index]} in example {index}"


def _is_zero_or_one(part: np.ndarray) -> bool:
    return bool(((part == 0) | (part == 1)).all())


def _is_one_hot(parts: Mapping[Split, np.ndarray], shape: tuple[int, ...]) -> bool:
    if len(shape) != 1 or shape[0] < 2:
        return False
    return all(_is_zero_or_one(part) and bool((part.sum(axis=1) == 1).all()) for part in parts.values())


def _whole(name: str, parts: Mapping[Split, np.ndarray], shape: tuple[int, ...], classes: int | None) -> ArraySpec:
    low = min(int(part.min()) for part in parts.values())
    high = max(int(part.max()) for part in parts.values())
    if classes is not None and (low < 0 or high >= classes):
        raise UserError(
            f"data: {name} must be from 0 to {classes - 1} (classes={classes}), got {low} to {high}; renumber"
        )
    dtype = str(parts[Split.TRAIN].dtype)
    if low < 0 or high >= MOST_CLASSES:
        return ArraySpec(shape=shape, dtype=dtype)
    examples = None if classes is not None else len(parts[Split.TRAIN])
    one_hot = classes is None and _is_one_hot(parts, shape)
    return ArraySpec(
        shape=shape, dtype=dtype, categories=classes or max(high + 1, 2), examples=examples, one_hot=one_hot
    )
