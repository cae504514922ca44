"""Durations of stages end when their tensors are there, not when a device has been told to compute them."""

import pytest
import tensorflow as tf

from tfscale.compression.stopwatch import Stopwatch


@pytest.mark.parametrize(("device", "copies"), [("/GPU:0", 2), ("/CPU:0", 0)])
def test_a_stage_on_a_gpu_waits_for_its_tensors(device: str, copies: int) -> None:
    """It timed how long it takes to enqueue them; the function is traced only, as there may be no GPU."""
    stopwatch = Stopwatch("encode")
    assert stopwatch.works

    @tf.function(autograph=False)
    def stage(value: tf.Tensor) -> tf.Tensor:
        with tf.device(device):
            given = value + 1.0
        return stopwatch.time("encode", [given], lambda: _doubled(given, device))

    graph = stage.get_concrete_function(tf.TensorSpec([2, 3])).graph
    clocks = [each for each in graph.get_operations() if each.type in ("TfscaleClock", "Timestamp")]
    assert len(clocks) == 2
    waited = [before for clock in clocks for before in clock.control_inputs if "CPU:0" in before.device]
    assert len([each for each in waited if each.type == "Identity"]) == copies


def _doubled(value: tf.Tensor, device: str) -> tf.Tensor:
    with tf.device(device):
        return 2.0 * value
