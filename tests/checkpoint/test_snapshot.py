"""Copies of state in files in memory."""

import numpy as np
import tensorflow as tf

from tfscale.checkpoint.snapshot import Snapshot


def test_a_copy_does_not_change_with_its_variable() -> None:
    variable, snapshot = tf.Variable([1.0, 2.0]), Snapshot()
    copy = snapshot("one", {"v": tf.convert_to_tensor(variable), "n": np.array(7)})
    variable.assign([3.0, 4.0])
    np.testing.assert_array_equal(copy.arrays["v"], [1.0, 2.0])
    assert copy.arrays["n"] == 7


def test_memory_is_reused_for_the_same_file_only() -> None:
    snapshot = Snapshot()
    first, other = (snapshot(file, {"v": tf.constant([1.0, 2.0])}) for file in ("one", "two"))
    again = snapshot("one", {"v": tf.constant([3.0, 4.0])})
    assert again is first
    np.testing.assert_array_equal(again.arrays["v"], [3.0, 4.0])
    np.testing.assert_array_equal(other.arrays["v"], [1.0, 2.0])


def test_another_shape_or_dtype_gets_new_memory() -> None:
    snapshot = Snapshot()
    snapshot("one", {"v": tf.constant([1.0, 2.0])})
    assert snapshot("one", {"v": tf.constant([1, 2])}).arrays["v"].dtype == np.int32
    assert snapshot("one", {"v": tf.constant(7)}).arrays["v"].shape == ()
