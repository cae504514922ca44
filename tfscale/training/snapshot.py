"""Copies of state, which are saved while training changes it."""

from typing import final

import numpy as np

from tfscale.training.state import Values
from tfscale.training.tensor_file import TensorFile


@final
class Snapshot:
    """Copies into files in memory, which are kept from save to save."""

    def __init__(self) -> None:
        self._files: dict[str, TensorFile] = {}

    def __call__(self, owner: str, values: Values) -> TensorFile:
        """A copy of values by name; that made before for the same owner is no longer one."""
        arrays = {name: np.asarray(each) for name, each in values.items()}
        if owner not in self._files or not self._files[owner].fill(arrays):
            self._files[owner] = TensorFile(arrays)
        return self._files[owner]
