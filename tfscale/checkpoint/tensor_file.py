"""One safetensors file, in memory, with tensors that can be given other values."""

import json
from collections.abc import Callable, Mapping
from typing import final

import numpy as np
import safetensors.numpy

from tfscale.checkpoint import durable_io

Arrays = Mapping[str, np.ndarray]
_START = 8
"""Bytes before a file's header, which hold its length."""


@final
class TensorFile:
    """The bytes of a file, in memory that is kept: to get new memory costs many times what filling it does.

    Args:
        arrays: What it holds, by name; copied.
        room: Gets memory for so many bytes, that disks can read.

    Attributes:
        content: Its bytes, [size] uint8, that disks can read.
        arrays: The tensors in them.
    """

    def __init__(self, arrays: Arrays, allocate: Callable[[int], np.ndarray] = durable_io.allocate) -> None:
        whole = np.frombuffer(safetensors.numpy.save(dict(arrays)), np.uint8)
        self.content = allocate(len(whole))
        np.copyto(self.content, whole)
        first = _START + int.from_bytes(whole[:_START].tobytes(), "little")
        header = json.loads(whole[_START:first].tobytes())
        self.arrays: Arrays = {
            name: np.ndarray(each.shape, each.dtype, self.content.data, first + header[name]["data_offsets"][0])
            for name, each in arrays.items()
        }

    def fill(self, arrays: Arrays) -> bool:
        """Gives all tensors other values; returns False, and does nothing, if these are others."""
        if _kinds(arrays) != _kinds(self.arrays):
            return False
        for name, each in arrays.items():
            np.copyto(self.arrays[name], each)
        return True


def _kinds(arrays: Arrays) -> object:
    return {name: (each.shape, each.dtype) for name, each in arrays.items()}
