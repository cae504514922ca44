"""Learning rate schedules of Keras, in terms of the optimizer's learning rate and the run's length."""

from collections.abc import Sequence
from typing import Literal

import keras

Rate = float | keras.optimizers.schedules.LearningRateSchedule


def constant(*, learning_rate: float, total_steps: int) -> Rate:
    """Returns `learning_rate`."""
    return learning_rate


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
) -> Rate:
    """Computes learning_rate * decay_rate^(step / decay_steps).

    Args:
        learning_rate: The first rate.
        total_steps: Steps of the whole run.
        decay_steps: Steps of one period; auto for the whole run.
        decay_rate: Factor of one period.
        staircase: Whether the exponent is rounded down.
    """
    steps = total_steps if decay_steps == "auto" else decay_steps
    return keras.optimizers.schedules.ExponentialDecay(learning_rate, steps, decay_rate, staircase=staircase)


def piecewise(*, learning_rate: float, total_steps: int, boundaries: Sequence[int], factors: Sequence[float]) -> Rate:
    """Computes learning_rate * factors[i], with i the number of boundaries passed.

    Args:
        learning_rate: The rate that the factors multiply.
        total_steps: Steps of the whole run.
        boundaries: Steps at which the factor changes.
        factors: One more than boundaries.
    """
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        list(boundaries), [learning_rate * factor for factor in factors]
    )
