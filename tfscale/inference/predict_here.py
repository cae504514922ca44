"""Predicts a few raw examples in the caller's process: what `Run.predict` does."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfscale.data.encoding import Columns, Tokens
from tfscale.data.sources.table import MISSING
from tfscale.errors import UserError
from tfscale.inference.serving import input_names
from tfscale.inference.trained import Trained
from tfscale.specs import ArraySpec, leaves

BATCH = 256
"""Examples at a time."""


def predict_here(trained: Trained, model: keras.Model, x: Any, *, scores: bool) -> np.ndarray | dict[str, Any]:
    """Returns the predictions of raw examples, or the outputs; see `api.Run.predict`.

    Args:
        trained: The model as it was trained.
        model: With its preprocessing inside.
        x: The examples.
        scores: Whether the outputs are returned.

    Raises:
        UserError: The examples are not of the kind that the run was trained on.
    """
    inputs = _inputs(trained, model, x)
    counts = sorted({len(part) for part in inputs.values()})
    if len(counts) != 1 or not counts[0]:
        raise UserError(f"the examples must have the same number of each input, at least one, got {counts}")
    parts = []
    for start in range(0, counts[0], BATCH):
        given = {name: tf.constant(part[start : start + BATCH]) for name, part in inputs.items()}
        tensors = list(given.values())
        outputs = model(given if isinstance(model.input, dict) else tensors if len(tensors) > 1 else tensors[0])
        parts.append(tf.nest.map_structure(lambda part: part.numpy(), outputs))
    whole = tf.nest.map_structure(lambda *each: np.concatenate(each), *parts)
    for part in leaves(whole).values():
        finite = np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if not finite.all():
            raise UserError(
                f"the outputs of example {int(np.argmin(finite))} are not finite; look for NaN among its inputs"
            )
    found = leaves(whole if scores else trained.task.decode(whole))
    return found[""] if found.keys() == {""} else found


def _inputs(trained: Trained, model: Any, x: Any) -> dict[str, np.ndarray]:
    """Returns the examples by the names of the model's inputs."""
    learned = trained.preprocessing
    names = [each.name for each in model.inputs]
    if isinstance(learned.encoding, Tokens):
        given = np.asarray([x] if isinstance(x, str) else x, dtype=object)
        if given.ndim != 1:
            raise UserError(f"the examples must be a list of texts, got {type(x).__name__}; give a list of str")
        texts = given.tolist()
        wrong = next((each for each in texts if not isinstance(each, str)), None)
        if wrong is not None:
            raise UserError(f"the examples must be texts, got {type(wrong).__name__}; give a list of str")
        return {names[0]: np.asarray(texts)}
    if isinstance(learned.encoding, Columns):
        by_column = any(each is not None for each in learned.encoding.categories.values())
        if by_column or not isinstance(x, np.ndarray | list | tuple):
            columns = {name: _cells(x, name, known) for name, known in learned.encoding.categories.items()}
            if not by_column:
                return {names[0]: np.stack(list(columns.values()), axis=1)}
            return {name: columns[column] for column, name in input_names(learned.encoding).items()}
    specs = leaves(learned.spec.x)
    given = leaves(x) if isinstance(x, Mapping | tuple) else {"": x}
    if given.keys() != specs.keys():
        raise UserError(f"the examples must have the inputs {', '.join(specs) or 'x'}, got {', '.join(given)}")
    return {name: _array(given[key], specs[key]) for name, key in zip(names, specs, strict=True)}


def _cells(x: Any, name: str, known: tuple[str, ...] | None) -> np.ndarray:
    """Returns a column [n]: numbers, an empty cell NaN; or text, each a category of the training examples."""
    try:
        column = np.asarray(x[name])
    except (KeyError, TypeError, IndexError):
        raise UserError(
            f"the examples must have a column {name}, got {type(x).__name__}; give a DataFrame or a dictionary of "
            "columns"
        ) from None
    if column.ndim != 1:
        raise UserError(f"the column {name} must be a list, got shape {column.shape}; give one value an example")
    if known is None:
        try:
            return column.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"the column {name} must hold numbers: {error}; convert it") from None
    texts = [MISSING if each is None or each == "" or each != each else str(each) for each in column.tolist()]
    unknown = next((each for each in texts if each not in known), None)
    if unknown is not None:
        raise UserError(
            f"the column {name} must have categories of the training examples, got {unknown!r}; leave such examples out"
        )
    return np.asarray(texts)


def _array(values: Any, spec: ArraySpec) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise UserError(f"the examples must be an array: {error}") from None
    wanted = "int32" if spec.categories is not None else spec.dtype
    if array.shape[1:] != spec.shape:
        raise UserError(
            f"the examples must have shape {('n', *spec.shape)}, got {array.shape}; the first axis is that of examples"
        )
    if not _has_meaning_of(array, np.dtype(wanted)):
        raise UserError(f"the examples must be {wanted} as the run was trained on, got {array.dtype}; convert them")
    return array.astype(wanted)


def _has_meaning_of(array: np.ndarray, wanted: np.dtype) -> bool:
    """Returns whether numbers mean the same in the run's dtype: bytes are scaled, floats are not."""
    if wanted.kind == "f":
        return array.dtype.kind in "fi"
    if wanted.kind in "iu":
        return array.dtype.kind in "iu" and np.array_equal(array.astype(wanted), array)
    return array.dtype == wanted
