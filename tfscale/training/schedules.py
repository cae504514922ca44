"""Learning rate schedules of Keras, in terms of the optimizer's learning rate and the run's length."""

from collections.abc import Sequence
from typing import Any, Literal, final

import keras
import tensorflow as tf

Rate = float | keras.optimizers.schedules.LearningRateSchedule


@final
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Multiplies a rate by min(1, step / steps).

    Args:
        rate: Of the steps after, and what is multiplied before.
        steps: Of the linear rise from 0, >= 1.

    References:
        Goyal et al. 2017, "Accurate, Large Minibatch SGD".
    """

    def __init__(self, rate: Rate, steps: int) -> None:
        self._rate, self._steps = rate, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate of a step, [] float32."""
        rate = self._rate(step) if callable(self._rate) else tf.constant(self._rate, tf.float32)
        return rate * tf.minimum(1.0, tf.cast(step, tf.float32) / self._steps)

    def get_config(self) -> dict[str, Any]:
        """Returns nothing: a run's configuration has the settings."""
        return {}


def _warmed_up(rate: Rate, steps: int) -> Rate:
    return rate if steps == 0 else WarmUp(rate, steps)


def constant(*, learning_rate: float, total_steps: int, warmup_steps: int) -> Rate:
    """Returns `learning_rate`, after a linear rise if asked for.

    Args:
        learning_rate: The rate.
        total_steps: Steps of the whole run.
        warmup_steps: Steps of the linear rise from 0; 0 for none.
    """
    return _warmed_up(learning_rate, warmup_steps)


def cosine(
    *,
    learning_rate: float,
    total_steps: int,
    decay_steps: int | Literal["auto"],
    alpha: float,
    warmup_steps: int,
) -> Rate:
    """Rises linearly from 0 to `learning_rate`, then falls along a cosine to alpha * learning_rate.

    Args:
        learning_rate: The highest rate.
        total_steps: Steps of the whole run.
        decay_steps: Steps of the cosine; auto for the rest of the run.
        alpha: Ratio of the last rate to the highest.
        warmup_steps: Steps of the linear rise; 0 for none.
    """
    rest = max(1, total_steps - warmup_steps) if decay_steps == "auto" else decay_steps
    if warmup_steps == 0:
        return keras.optimizers.schedules.CosineDecay(learning_rate, rest, alpha=alpha)
    return keras.optimizers.schedules.CosineDecay(
        0.0, rest, alpha=alpha, warmup_target=learning_rate, warmup_steps=warmup_steps
    )


def exponential(
    *,
    learning_rate: float,
    total_steps: int,
    decay_steps: int | Literal["auto"],
    decay_rate: float,
    staircase: bool,
    warmup_steps: int,
) -> Rate:
    """Computes learning_rate * decay_rate^(step / decay_steps).

    Args:
        learning_rate: The first rate.
        total_steps: Steps of the whole run.
        decay_steps: Steps of one period; auto for the whole run.
        decay_rate: Factor of one period.
        staircase: Whether the exponent is rounded down.
        warmup_steps: Steps in which the rate is multiplied by step / warmup_steps; 0 for none.
    """
    steps = total_steps if decay_steps == "auto" else decay_steps
    decay = keras.optimizers.schedules.ExponentialDecay(learning_rate, steps, decay_rate, staircase=staircase)
    return _warmed_up(decay, warmup_steps)


def piecewise(
    *,
    learning_rate: float,
    total_steps: int,
    boundaries: Sequence[int],
    factors: Sequence[float],
    warmup_steps: int,
) -> Rate:
    """Computes learning_rate * factors[i], with i the number of boundaries passed.

    Args:
        learning_rate: The rate that the factors multiply.
        total_steps: Steps of the whole run.
        boundaries: Steps at which the factor changes.
        factors: One more than boundaries.
        warmup_steps: Steps in which the rate is multiplied by step / warmup_steps; 0 for none.
    """
    pieces = keras.optimizers.schedules.PiecewiseConstantDecay(
        list(boundaries), [learning_rate * factor for factor in factors]
    )
    return _warmed_up(pieces, warmup_steps)
