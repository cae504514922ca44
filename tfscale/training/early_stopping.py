"""Early stopping: ends a run before its last step because of its results, and remembers the best evaluation.

It is updated after each evaluation on the validation examples (patience, target) and at each log record (training
loss), never by the test. Both are equal in every process, so all decide alike.

References:
    DeepLearning4j's EarlyStoppingConfiguration: ScoreImprovementEpochTerminationCondition is `patience` and
    `min_delta`, BestScoreEpochTerminationCondition `target`, MaxScoreIterationTerminationCondition and
    InvalidScoreIterationTerminationCondition `max_loss`. Its limits of epochs and of time are `train.epochs` and
    `train.max_time`.
"""

from collections.abc import Mapping
from typing import Literal, final

import numpy as np

from tfscale.errors import UserError
from tfscale.tracking.base import Monitored
from tfscale.training.monitor import Directions, Monitor


@final
class EarlyStopping:
    """Monitors one figure.

    Args:
        monitor: `loss`, or the name of a metric, of the validation examples; None: the first metric.
        mode: `min` if small values are better, `max` if large ones are; `auto` for the metric's own direction.
        patience: Evaluations without an improvement after which the run ends; None for no limit.
        min_delta: Least improvement over the best, in units of the figure.
        target: Value at which the run ends; None for none.
        max_loss: Training loss of a log record above which, or at NaN, the run ends; None for no limit.
        keep_best: Whether the checkpoint of the best evaluation is kept.
        has_validation: Whether there are validation examples.
        directions: Name -> `min` or `max` for the loss and each metric; None if a metric names no direction.

    Raises:
        UserError: The monitored figure is not measured; a criterion needs validation examples, and there are none; or
            it needs a direction, mode is `auto`, and the metric names none.

    Attributes:
        best_step: Optimizer steps after which it was measured; -1 before the first.
        ended: Whether a criterion has ended the run. A run that is restarted after that but before its end repeats its
            last evaluation, which does not count twice.
    """

    def __init__(
        self,
        *,
        monitor: str | None,
        mode: Literal["auto", "min", "max"],
        patience: int | None,
        min_delta: float,
        target: float | None,
        max_loss: float | None,
        keep_best: bool,
        has_validation: bool,
        directions: Directions,
    ) -> None:
        needing = {"patience": patience is not None, "target": target is not None, "keep_best": keep_best}
        key = next((key for key, needs in needing.items() if needs), None)
        if key is not None and not has_validation:
            raise UserError(
                f"early_stopping.{key} must have validation examples, and the data have none; type data.validation=0.1"
            )
        self._monitor = Monitor(
            "early_stopping",
            monitor=monitor,
            mode=mode,
            min_delta=min_delta,
            directions=directions,
            compares=key is not None,
        )
        self._patience, self._target = patience, target
        self._max_loss, self.keep_best = max_loss, keep_best
        self.best_step, self._stale = -1, 0
        self.ended = False

    @property
    def best(self) -> float:
        """The best value so far; NaN before the first."""
        return self._monitor.best

    @property
    def monitored(self) -> Monitored:
        """The monitored figure and its best value so far."""
        direction: dict[int, Literal["min", "max"] | None] = {-1: "min", 1: "max", 0: None}
        monitor = self._monitor
        return Monitored(
            name=monitor.name, direction=direction[monitor.sign], min_delta=monitor.min_delta, best=monitor.best
        )

    def after_evaluation(self, step: int, measured: Mapping[str, float]) -> str | None:
        """Takes an evaluation.

        Args:
            step: Optimizer steps completed.
            measured: The loss, then the metrics in their order.

        Returns:
            Why the run ends, None if it does not. `best_step` is `step` if the evaluation is an improvement.
        """
        reason = self._check(step, self._monitor.name, measured[self._monitor.name])
        self.ended |= reason is not None
        return reason

    def _check(self, step: int, name: str, value: float) -> str | None:
        sign = self._monitor.sign
        if sign == 0:
            return None
        if self._monitor.improves(value):
            self.best_step, self._stale = step, 0
        elif not self.ended:
            self._stale += 1
        if self._target is not None and sign * (value - self._target) >= 0:
            return f"early_stopping.target={self._target:g} is reached: {name} {value:.4g}"
        if self._patience is not None and self._stale >= self._patience:
            return f"{name} has not improved for {self._stale} evaluations (early_stopping.patience)"
        return None

    def after_log(self, loss: float) -> str | None:
        """Takes a training loss; returns why the run ends, None if it does not."""
        if self._max_loss is None or loss <= self._max_loss:
            return None
        self.ended = True
        return f"the training loss is {loss:g}, beyond early_stopping.max_loss={self._max_loss:g}"

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the state to save."""
        return {
            "best": np.array(self.best),
            "best_step": np.array(self.best_step),
            "stale": np.array(self._stale),
            "ended": np.array(self.ended),
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restores the state that `arrays` returned."""
        self._monitor.best, self.best_step = float(arrays["best"]), int(arrays["best_step"])
        self._stale, self.ended = int(arrays["stale"]), bool(arrays["ended"])
