"""Threshold policies as functions of (threshold, density, step)."""

import pytest
import tensorflow as tf

from tfscale.compression.thresholds import DL4J_RATE, Adaptive, Fixed, TargetDensity

STEP, ONE = tf.constant(10, tf.int64), tf.constant(1.0)


def test_fixed_stays() -> None:
    assert float(Fixed(initial=0.5).next(tf.constant(0.5), tf.constant(0.9), ONE, STEP)) == 0.5


@pytest.mark.parametrize(("density", "factor"), [(1e-5, DL4J_RATE), (1e-3, 1.0), (0.5, 1 / DL4J_RATE)])
def test_adaptive_follows_deeplearning4j(density: float, factor: float) -> None:
    policy = Adaptive(initial=1e-3, minimum=1e-4, maximum=1e-2)
    assert float(policy.next(tf.constant(1e-3), tf.constant(density), ONE, STEP)) == pytest.approx(
        1e-3 * factor, rel=1e-6
    )


def test_twenty_adjustments_halve_the_threshold() -> None:
    assert pytest.approx(0.5) == DL4J_RATE**20


def test_target_moves_towards_its_density() -> None:
    policy = TargetDensity(initial=1e-3, density=1e-3, ramp=0, gain=1.0)
    assert float(policy.next(tf.constant(1.0), tf.constant(1e-2), ONE, STEP)) > 1
    assert float(policy.next(tf.constant(1.0), tf.constant(1e-4), ONE, STEP)) < 1
    assert float(policy.next(tf.constant(1.0), tf.constant(1e-3), ONE, STEP)) == 1
    assert 0 < float(policy.next(tf.constant(1.0), tf.constant(0.0), ONE, STEP)) < 1, "an empty step must not zero it"


def test_ramp_falls_from_a_sixteenth_to_the_target() -> None:
    policy = TargetDensity(initial=None, density=1e-3, ramp=100, gain=1.0)
    wanted = [float(policy.density(tf.constant(step, tf.int64))) for step in (0, 50, 100, 500)]
    assert wanted[0] == pytest.approx(1 / 16)
    assert wanted[1] == pytest.approx((1e-3 / 16) ** 0.5)
    assert wanted[2] == wanted[3] == pytest.approx(1e-3)


def test_target_leaves_saturation_and_starvation_at_once() -> None:
    policy = TargetDensity(initial=None, density=1e-3, ramp=0, gain=1.0)
    on_target = tf.constant(1e-3)
    for residual_ratio, factor in ((1.0, 1.0), (8.0, 1.0), (12.0, 1.5), (100.0, 2.0), (0.99, 0.99), (0.01, DL4J_RATE)):
        following = policy.next(tf.constant(1.0), on_target, tf.constant(residual_ratio), STEP)
        assert float(following) == pytest.approx(factor), residual_ratio
