"""What is cut comes together again."""

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
def test_shards_hold_every_value_once(count: int) -> None:
    shards = [slice_of(VALUES, index, count) for index in range(count)]
    assert sum(each.size for part in shards for each in part.values()) == sum(each.size for each in VALUES.values())
    whole = join(shards)
    assert whole.keys() == VALUES.keys()
    for name, value in VALUES.items():
        assert (whole[name].dtype, whole[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(whole[name], value)


def test_shards_are_about_as_large_and_not_copied() -> None:
    sizes = [slice_of(VALUES, index, 3)["kernel"].shape for index in range(3)]
    assert sizes == [(2, 5), (2, 5), (3, 5)]
    assert np.shares_memory(slice_of(VALUES, 1, 3)["kernel"], VALUES["kernel"])
