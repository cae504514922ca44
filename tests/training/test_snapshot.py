"""Copies of variables."""

import numpy as np
import tensorflow as tf

from tfscale.training.snapshot import Snapshot


def test_a_copy_does_not_change_with_its_variable() -> None:
    variable, snapshot = tf.Variable([1.0, 2.0]), Snapshot()
    copy = snapshot("one", {"v": variable})
    variable.assign([3.0, 4.0])
    np.testing.assert_array_equal(copy["v"], [1.0, 2.0])
    assert not np.shares_memory(copy["v"], variable.numpy())


def test_memory_is_used_again_for_the_same_owner_only() -> None:
    variable, snapshot = tf.Variable([1.0, 2.0]), Snapshot()
    first, other = snapshot("one", {"v": variable})["v"], snapshot("two", {"v": variable})["v"]
    variable.assign([3.0, 4.0])
    again = snapshot("one", {"v": variable})["v"]
    assert again is first
    np.testing.assert_array_equal(again, [3.0, 4.0])
    np.testing.assert_array_equal(other, [1.0, 2.0])


def test_another_shape_or_type_gets_memory_of_its_own() -> None:
    snapshot = Snapshot()
    snapshot("one", {"v": tf.Variable([1.0, 2.0])})
    assert snapshot("one", {"v": tf.Variable([1, 2])})["v"].dtype == np.int32
    assert snapshot("one", {"v": tf.Variable(7)})["v"].shape == ()
