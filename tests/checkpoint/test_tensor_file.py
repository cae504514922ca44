"""A safetensors file in memory."""

import numpy as np
import safetensors.numpy

from tfscale.checkpoint.durable_io import BLOCK
from tfscale.checkpoint.tensor_file import TensorFile

ARRAYS = {
    "weights": np.arange(70_000, dtype=np.float32).reshape(100, 700),
    "count": np.array(7),
    "none": np.zeros((0, 3), np.float16),
    "flags": np.array([True, False, True]),
}


def test_its_bytes_are_those_of_the_library() -> None:
    file = TensorFile(ARRAYS)
    assert file.content.tobytes() == safetensors.numpy.save(ARRAYS)
    assert file.content.ctypes.data % BLOCK == 0


def test_values_are_replaced_in_place() -> None:
    file = TensorFile(ARRAYS)
    others = {**ARRAYS, "weights": -ARRAYS["weights"], "count": np.array(8), "flags": np.array([False, True, True])}
    address = file.content.ctypes.data
    assert file.fill(others)
    assert file.content.tobytes() == safetensors.numpy.save(others)
    assert file.content.ctypes.data == address


def test_arrays_of_other_names_shapes_or_dtypes_change_nothing() -> None:
    file = TensorFile(ARRAYS)
    before = file.content.tobytes()
    for name, other in (("count", np.array(7.0)), ("flags", np.array([True])), ("more", np.array(1))):
        assert not file.fill({**ARRAYS, name: other})
    assert not file.fill({name: each for name, each in ARRAYS.items() if name != "none"})
    assert file.content.tobytes() == before


def test_a_file_may_hold_no_arrays() -> None:
    assert safetensors.numpy.load(TensorFile({}).content.tobytes()) == {}
