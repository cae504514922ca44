"""Learning rates by step."""

import pytest
import tensorflow as tf

from tfscale.training import schedules


def rates(rate: schedules.Rate, *steps: int) -> list[float]:
    return [round(float(rate(tf.constant(step)) if callable(rate) else rate), 6) for step in steps]


def test_a_warm_up_multiplies_every_schedule() -> None:
    given = {"learning_rate": 0.8, "total_steps": 40}
    assert rates(schedules.constant(**given, warmup_steps=4), 0, 1, 2, 4, 40) == [0.0, 0.2, 0.4, 0.8, 0.8]
    decay = {"decay_steps": "auto", "decay_rate": 0.25, "staircase": False}
    assert rates(schedules.exponential(**given, **decay, warmup_steps=40), 0, 20, 40) == [0.0, 0.2, 0.2]
    pieces = {"boundaries": [10], "factors": [1.0, 0.5]}
    assert rates(schedules.piecewise(**given, **pieces, warmup_steps=20), 0, 10, 11, 20, 21) == [0, 0.4, 0.22, 0.4, 0.4]


def test_without_a_warm_up_a_constant_rate_is_a_number() -> None:
    assert schedules.constant(learning_rate=0.1, total_steps=10, warmup_steps=0) == 0.1


def test_a_cosine_falls_from_the_end_of_its_warm_up() -> None:
    cosine = schedules.cosine(learning_rate=1.0, total_steps=12, decay_steps="auto", alpha=0.0, warmup_steps=2)
    assert rates(cosine, 0, 1, 2, 7, 12) == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0], abs=1e-6)
