"""How the learning rate moves over a run: Keras's schedules, in terms of the optimizer's rate and the run's length."""

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
    """From 0 linearly up to `learning_rate` in `warmup_steps`, then along a cosine down to alpha * learning_rate.

    Args:
        learning_rate: The highest.
        total_steps: Of the whole run.
        decay_steps: Length of the cosine; auto for the rest of the run.
        alpha: Last rate over highest.
        warmup_steps: 0 for none.
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
    """learning_rate * decay_rate^(step / decay_steps).

    Args:
        learning_rate: The first.
        total_steps: Of the whole run.
        decay_steps: auto for the whole run.
        decay_rate: Factor of one period.
        staircase: Whether the exponent is rounded down.
    """
    steps = total_steps if decay_steps == "auto" else decay_steps
    return keras.optimizers.schedules.ExponentialDecay(learning_rate, steps, decay_rate, staircase=staircase)


def piecewise(*, learning_rate: float, total_steps: int, boundaries: Sequence[int], factors: Sequence[float]) -> Rate:
    """learning_rate * factors[i], with i the number of boundaries passed.

    Args:
        learning_rate: What the factors multiply.
        total_steps: Of the whole run.
        boundaries: Steps.
        factors: One more than boundaries.
    """
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        list(boundaries), [learning_rate * factor for factor in factors]
    )
