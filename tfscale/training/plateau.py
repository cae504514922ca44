"""A learning rate that falls when the validation examples show no improvement.

It is a Keras schedule, so every optimizer takes it. The scale of the rate is state of the run: saved, restored, and
equal in all processes, which have the same evaluations. The rate that it scales is a setting.

References:
    Keras's ReduceLROnPlateau, which sets the optimizer's rate instead.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, final

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.training.monitor import Directions, Monitor


@final
class Plateau(keras.optimizers.schedules.LearningRateSchedule):
    """learning_rate * factor^n after n plateaus; `watch` must be called before the first evaluation.

    Args:
        learning_rate: The first rate.
        total_steps: Steps of the whole run, on which this schedule does not depend.
        monitor: `loss`, or the name of a metric, of the validation examples.
        mode: `min`, `max`, or `auto` for the figure's own direction.
        factor: Of one reduction, in (0, 1).
        patience: Evaluations without an improvement before a reduction.
        min_delta: Least improvement, in units of the figure.
        cooldown: Evaluations after a reduction until one counts again.
        min_learning_rate: Lower bound of the rate.
    """

    def __init__(
        self,
        *,
        learning_rate: float,
        total_steps: int,
        monitor: str | None,
        mode: Literal["auto", "min", "max"],
        factor: float,
        patience: int,
        min_delta: float,
        cooldown: int,
        min_learning_rate: float,
    ) -> None:
        self._rate, self._settings = learning_rate, {"monitor": monitor, "mode": mode, "min_delta": min_delta}
        self._factor, self._patience, self._cooldown, self._least = factor, patience, cooldown, min_learning_rate
        self._scale = tf.Variable(tf.constant(1.0), trainable=False)
        self._monitor: Monitor | None = None
        self._stale, self._paused = 0, 0

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate, [] float32, which does not depend on the step."""
        return self.rate()

    def rate(self) -> tf.Tensor:
        """Returns the rate of now, [] float32."""
        return tf.maximum(self._rate * self._scale.read_value(), self._least)

    def get_config(self) -> dict[str, Any]:
        """Returns nothing: a run's configuration has the settings."""
        return {}

    def watch(self, directions: Directions, *, has_validation: bool) -> None:
        """Begins to monitor.

        Args:
            directions: Of the loss and all metrics.
            has_validation: Whether there are validation examples.

        Raises:
            UserError: There are none, or the figure is not measured or has no direction.
        """
        if not has_validation:
            raise UserError(
                "schedule=plateau must have validation examples, and the data have none; type data.validation=0.1"
            )
        self._monitor = Monitor("schedule", **self._settings, directions=directions, compares=True)

    def after_evaluation(self, measured: Mapping[str, float]) -> str | None:
        """Takes an evaluation on the validation examples.

        Returns:
            A sentence about the new rate; None if it stays.
        """
        monitor = self._monitor
        if monitor is None:
            raise RuntimeError("Plateau.watch must be called before the first evaluation")
        improves = monitor.improves(measured[monitor.name])
        if self._paused:
            self._paused, self._stale = self._paused - 1, 0
        if self._paused:
            return None
        self._stale = 0 if improves else self._stale + 1
        if self._stale < self._patience or self._rate * float(self._scale) <= self._least:
            return None
        self._scale.assign(self._scale * self._factor)
        waited, self._stale, self._paused = self._stale, 0, self._cooldown
        return f"{monitor.name} has not improved for {waited} evaluations: learning rate {float(self.rate()):.3g}"

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the state to save."""
        best = math.nan if self._monitor is None else self._monitor.best
        return {
            "scale": self._scale.numpy(),
            "best": np.array(best),
            "stale": np.array(self._stale),
            "paused": np.array(self._paused),
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restores the state that `arrays` returned."""
        self._scale.assign(arrays["scale"])
        if self._monitor is not None:
            self._monitor.best = float(arrays["best"])
        self._stale, self._paused = int(arrays["stale"]), int(arrays["paused"])
