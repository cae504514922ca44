"""Copies of state, which are saved while training changes it."""

from collections.abc import Callable, Mapping
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from tfscale.checkpoint import durable_io
from tfscale.checkpoint.tensor_file import TensorFile


@final
class Snapshot:
    """Copies into files in memory, which are kept from save to save.

    Args:
        room: Gets memory for so many bytes, that disks can read.
    """

    def __init__(self, allocate: Callable[[int], np.ndarray] = durable_io.allocate) -> None:
        self._allocate = allocate
        self._files: dict[str, TensorFile] = {}

    def __call__(self, owner: str, values: Mapping[str, ArrayLike]) -> TensorFile:
        """A copy of values by name; that made before for the same owner is no longer one."""
        arrays = {name: np.asarray(each) for name, each in values.items()}
        if owner not in self._files or not self._files[owner].fill(arrays):
            self._files[owner] = TensorFile(arrays, self._allocate)
        return self._files[owner]
