"""Copies of state, which are written while training changes the state."""

from collections.abc import Callable, Mapping
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from tfscale.checkpoint import durable_io
from tfscale.checkpoint.tensor_file import TensorFile


@final
class Snapshot:
    """Copies arrays into files in memory, which are reused from save to save.

    Args:
        allocate: Allocates [size] uint8, aligned for direct writes.
    """

    def __init__(self, allocate: Callable[[int], np.ndarray] = durable_io.allocate) -> None:
        self._allocate = allocate
        self._files: dict[str, TensorFile] = {}

    def __call__(self, file: str, values: Mapping[str, ArrayLike]) -> TensorFile:
        """Copies values by name into a file; the copy made before for the same file name is overwritten."""
        arrays = {name: np.asarray(each) for name, each in values.items()}
        if file not in self._files or not self._files[file].fill(arrays):
            self._files[file] = TensorFile(arrays, self._allocate)
        return self._files[file]
