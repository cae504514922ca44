"""Slices of the arrays that all replicas share: each replica saves one, so together they save every array once.

Arrays are sliced along their first axis; a scalar is in the first slice.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tfscale.checkpoint.tensor_file import Arrays


def slice_of(values: Mapping[str, ArrayLike], index: int, count: int) -> Arrays:
    """Slice `index` of `count`, by name; the arrays are views."""
    arrays = {name: np.asarray(each) for name, each in values.items()}
    rows = {name: each[_rows(len(each), index, count)] for name, each in arrays.items() if each.ndim}
    return {**rows, **{name: each for name, each in arrays.items() if not each.ndim and not index}}


def join(slices: Sequence[Arrays]) -> Arrays:
    """Joins all slices: the inverse of `slice_of`."""
    first = slices[0]
    return {
        name: np.concatenate([each[name] for each in slices]) if first[name].ndim else first[name] for name in first
    }


def _rows(rows: int, index: int, count: int) -> slice:
    return slice(rows * index // count, rows * (index + 1) // count)
