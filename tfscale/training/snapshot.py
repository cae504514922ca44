"""Copies of variables, which are saved while training changes them."""

from typing import final

import numpy as np
import tensorflow as tf

from tfscale.training.state import Variables
from tfscale.training.tensor_file import Arrays


@final
class Snapshot:
    """Copies into memory that it keeps: to get new memory costs many times what filling it does."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, str], np.ndarray] = {}

    def __call__(self, owner: str, variables: Variables) -> Arrays:
        """A copy of their values, by name; that made before for the same owner is no longer one."""
        return {name: self._copy((owner, name), tf.convert_to_tensor(each)) for name, each in variables.items()}

    def _copy(self, key: tuple[str, str], value: tf.Tensor) -> np.ndarray:
        now = np.asarray(value)
        room = self._rooms.get(key)
        if room is None or room.shape != now.shape or room.dtype != now.dtype:
            room = self._rooms[key] = np.empty_like(now)
        np.copyto(room, now)
        return room
