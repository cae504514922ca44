"""Arrays by their names in a file or folder: x_train, y_train, x_test, y_test, x_validation, y_validation, weight.

A model with several inputs or outputs has a part for each: x_train.left and x_train.right.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from tfscale.data.base import Arrays
from tfscale.errors import UserError

REQUIRED = ("x_train",)
SPLIT = ("x_train", "y_train", "x_test", "y_test", "x_validation", "y_validation")
NAMES = (*SPLIT, "weight")


def check(names: Iterable[str], where: str, how: str) -> None:
    """Checks that the names are known and x_train is among them.

    Args:
        names: Of the arrays.
        where: Key and path of the file or folder, for messages.
        how: Instruction to write it, for messages.

    Raises:
        UserError: x_train is missing, or a name means nothing.
    """
    heads = {name.partition(".")[0] for name in names}
    if not heads & set(REQUIRED):
        raise UserError(f"{where} must hold the array x_train; {how}")
    unknown = sorted(heads - set(NAMES))
    if unknown:
        raise UserError(f"{where} must hold only arrays called {', '.join(NAMES)}, got {unknown[0]}; leave it out")


def assembled(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Returns the arrays of checked names; images without an axis of channels get one of length 1."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        head, _, part = name.partition(".")
        parts.setdefault(head, {})[part] = array
    named = {head: each[""] if each.keys() == {""} else each for head, each in parts.items()}
    x = {name: _with_channels(named[name]) for name in named if name.startswith("x_")}
    return Arrays(**{"y_train": None, **named, **x})


def _with_channels(x: np.ndarray | dict[str, np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
    if isinstance(x, dict):
        return {name: part[..., np.newaxis] if part.ndim == 3 else part for name, part in x.items()}
    return x[..., np.newaxis] if x.ndim == 3 else x
