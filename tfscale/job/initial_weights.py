"""The weights that a model begins with: arrays of an earlier run or of a file, taken by the names of variables.

Arrays whose name, shape and dtype fit are taken, and all others are listed, so a new head for another number of classes
needs nothing but its own shape. Nothing is cast. No format is unpickled; files of Keras's own formats are read by
`Model.load_weights`, which makes no objects of what they describe.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import final

import keras
import numpy as np
import safetensors.numpy

from tfscale.checkpoint import folder as checkpoint_folder
from tfscale.checkpoint.format import DamagedError
from tfscale.checkpoint.reader import Checkpoint
from tfscale.checkpoint.tensor_file import Arrays
from tfscale.config.targets import KERAS_FILES
from tfscale.config.transfer import KEY, Origin
from tfscale.errors import UserError
from tfscale.job.cause import describe
from tfscale.training.checkpoints import best

SHOWN = 6
"""Arrays that a line lists."""

_PREFIX = "model/"
"""Of a variable's name in a checkpoint."""


@final
class InitialWeights:
    """Reads the origin once and loads it into every replica's model.

    Args:
        origin: Run or file.

    Attributes:
        note: A line about what was taken; empty before the first `load`.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._arrays: Arrays | None = None
        self.note = ""

    def load(self, model: keras.Model) -> None:
        """Assigns the arrays that fit to the model's variables; random streams stay.

        Raises:
            UserError: The origin cannot be read, or nothing in it fits.
        """
        if self._arrays is None:
            self._arrays = self._read(model)
        variables = {variable.path: variable for variable in model.weights}
        taken = {path: array for path in variables if (array := _named(path, self._arrays)) is not None}
        absent = "not there, or of another shape" if self._origin.path.name.endswith(KERAS_FILES) else "not there"
        reasons = {path: _misfit(variable, taken.get(path), absent) for path, variable in variables.items()}
        misfits = {path: reason for path, reason in reasons.items() if reason}
        if len(misfits) == len(variables):
            raise UserError(_nothing_fits(self._origin.text, variables, self._arrays))
        for path in variables.keys() - misfits.keys():
            variables[path].assign(taken[path])
        self.note = _note(self._title(), len(variables), misfits)

    def _title(self) -> str:
        return f"run {self._origin.path.name}" if self._origin.is_run else self._origin.text

    def _read(self, model: keras.Model) -> Arrays:
        path = self._origin.path
        if self._origin.is_run:
            return _of_run(self._origin)
        try:
            if path.name.endswith(KERAS_FILES):
                return _of_keras(path, model)
            if path.suffix == ".npz":
                with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                    return dict(file)
            return safetensors.numpy.load_file(path)
        except Exception as error:
            raise UserError(f"{KEY}={self._origin.text} cannot be read: {describe(error)}") from error


def _of_run(origin: Origin) -> Arrays:
    """Returns the consensus of a run's newest, or best, intact checkpoint."""
    checkpoints = origin.path / "checkpoints"
    newest = next(checkpoint_folder.intact(checkpoints, lambda path, error: None), None)
    if newest is None:
        raise UserError(f"{KEY}={origin.text}: run {origin.path.name} has no intact checkpoint; train it first")
    try:
        checkpoint = Checkpoint(best(newest) if origin.best else newest)
        return {**checkpoint.shared(), **checkpoint.model()}
    except (DamagedError, UserError) as error:
        raise UserError(f"{KEY}={origin.text}: {error}") from None


def _of_keras(path: Path, model: keras.Model) -> Arrays:
    """Returns the weights that Keras finds for a model in a file, by the model's own names.

    Keras matches them by the model's structure and does not say which it has loaded; floating variables are filled with
    NaN before, so those that keep it were not. The model's values are restored.
    """
    before = {variable.path: variable.numpy() for variable in model.weights}
    floating = [variable for variable in model.weights if keras.backend.is_float_dtype(variable.dtype)]
    try:
        for variable in floating:
            variable.assign(np.full(variable.shape, np.nan, np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers that do not fit, which the note lists
            model.load_weights(path, skip_mismatch=True)
        return {each.path: each.numpy() for each in floating if not np.isnan(each.numpy()).all()}
    finally:
        for variable in model.weights:
            variable.assign(before[variable.path])


def _named(path: str, arrays: Arrays) -> np.ndarray | None:
    return arrays.get(path, arrays.get(f"{_PREFIX}{path}"))


def _misfit(variable: keras.Variable, array: np.ndarray | None, absent: str) -> str:
    """Returns why an array cannot be a variable's value; empty if it can."""
    if array is None:
        return absent
    if array.shape != tuple(variable.shape):
        return f"shape {_shape(variable.shape)}, there {_shape(array.shape)}"
    kind = keras.backend.standardize_dtype(variable.dtype)
    return "" if str(array.dtype) == kind else f"{kind}, there {array.dtype}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _note(title: str, count: int, misfits: Mapping[str, str]) -> str:
    first = f"from {title}: {count - len(misfits)} of {count} arrays"
    if not misfits:
        return first
    return f"{first}; left as initialised: {_some(f'{path} ({why})' for path, why in misfits.items())}"


def _nothing_fits(text: str, variables: Mapping[str, keras.Variable], arrays: Arrays) -> str:
    ours = _some(f"{path} (shape {_shape(variable.shape)})" for path, variable in variables.items())
    names = {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
    theirs = _some(f"{name} (shape {_shape(array.shape)}, {array.dtype})" for name, array in names.items())
    return (
        f"{KEY}={text} must have an array with name, shape and dtype of a variable of the model; the model has {ours}; "
        f"there is {theirs or 'nothing'}"
    )


def _some(parts: Iterable[str]) -> str:
    known = list(parts)
    return ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
