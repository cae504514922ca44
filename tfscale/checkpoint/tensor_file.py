"""A safetensors file in memory, with arrays whose values can be replaced."""

import json
from collections.abc import Callable, Mapping
from typing import final

import numpy as np
import safetensors.numpy

from tfscale.checkpoint import durable_io

Arrays = Mapping[str, np.ndarray]
_START = 8
"""Bytes before a file's header, which hold the header's length."""


@final
class TensorFile:
    """The bytes of one file, in memory that is reused: allocation costs many times as much as the copy.

    Args:
        arrays: Arrays by name; copied.
        allocate: Allocates [size] uint8, aligned for direct writes.

    Attributes:
        content: Bytes of the file, [size] uint8, aligned for direct writes.
        arrays: Arrays by name: views of `content`.
    """

    def __init__(self, arrays: Arrays, allocate: Callable[[int], np.ndarray] = durable_io.allocate) -> None:
        encoded = np.frombuffer(safetensors.numpy.save(dict(arrays)), np.uint8)
        self.content = allocate(len(encoded))
        np.copyto(self.content, encoded)
        first = _START + int.from_bytes(encoded[:_START].tobytes(), "little")
        header = json.loads(encoded[_START:first].tobytes())
        self.arrays: Arrays = {
            name: np.ndarray(each.shape, each.dtype, self.content.data, first + header[name]["data_offsets"][0])
            for name, each in arrays.items()
        }

    def fill(self, arrays: Arrays) -> bool:
        """Replaces all values; returns False, and changes nothing, if names, shapes or dtypes differ."""
        if _specs(arrays) != _specs(self.arrays):
            return False
        for name, each in arrays.items():
            np.copyto(self.arrays[name], each)
        return True


def _specs(arrays: Arrays) -> object:
    return {name: (each.shape, each.dtype) for name, each in arrays.items()}
