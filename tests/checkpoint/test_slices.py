"""Slices of shared arrays join to what was sliced."""

import numpy as np
import pytest

from tfscale.checkpoint.slices import join, slice_of

VALUES = {
    "kernel": np.arange(35.0, dtype=np.float32).reshape(7, 5),
    "bias": np.arange(2),
    "none": np.zeros((0, 3)),
    "count": np.array(9),
    "off": np.array(True),
}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_slices_hold_every_value_once(count: int) -> None:
    slices = [slice_of(VALUES, index, count) for index in range(count)]
    assert sum(each.size for arrays in slices for each in arrays.values()) == sum(each.size for each in VALUES.values())
    joined = join(slices)
    assert joined.keys() == VALUES.keys()
    for name, value in VALUES.items():
        assert (joined[name].dtype, joined[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(joined[name], value)


def test_slices_have_about_equal_sizes_and_are_views() -> None:
    sizes = [slice_of(VALUES, index, 3)["kernel"].shape for index in range(3)]
    assert sizes == [(2, 5), (2, 5), (3, 5)]
    assert np.shares_memory(slice_of(VALUES, 1, 3)["kernel"], VALUES["kernel"])
