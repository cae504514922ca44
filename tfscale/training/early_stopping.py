"""When a run ends before its last step because of what it has reached, and which model of it was the best.

It is looked at after each evaluation on the test data (patience, a target), and at each log record (the training loss).
Both are the same numbers in every process, so all decide alike.

References:
    DeepLearning4j's EarlyStoppingConfiguration: ScoreImprovementEpochTerminationCondition is `patience` and
    `min_delta`, BestScoreEpochTerminationCondition `target`, MaxScoreIterationTerminationCondition and
    InvalidScoreIterationTerminationCondition `max_loss`. Its limits of epochs and of time are `train.epochs` and
    `train.max_time`.
"""

import math
from collections.abc import Mapping
from typing import Literal, final

import numpy as np

from tfscale.errors import UserError


@final
class EarlyStopping:
    """Watches one number.

    Args:
        monitor: `loss`, or the name of a metric, of the test data; None: the first metric.
        mode: Whether it should be small (`min`) or large (`max`); `auto`: as the metric says.
        patience: Evaluations without an improvement after which the run ends; None for any number.
        min_delta: How much better than the best an improvement is.
        target: The run ends when the number has reached it; None for never.
        max_loss: The run ends when the training loss of a log record is beyond it, or is not a number; None for never.
        keep_best: Whether the checkpoint of the best evaluation is kept.
        directions: Name -> `min` or `max` for the loss and each metric; None where a metric does not say.

    Raises:
        UserError: What to monitor is not measured; or it decides something, mode is `auto`, and it does not say which
            direction is better.

    Attributes:
        best: The best number until now; not a number if there is none.
        best_step: Optimizer steps after which it was measured; -1 likewise.
        ended: Whether the run was to end. A run that is started again after that, before it has, looks at its last
            evaluation a second time, which does not count.
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
        directions: Mapping[str, Literal["min", "max"] | None],
    ) -> None:
        self._monitor = monitor or next((name for name in directions if name != "loss"), "loss")
        if self._monitor not in directions:
            raise UserError(
                f"early_stopping.monitor must be one of {', '.join(directions)}, got {monitor}; or add a metric of "
                "that name"
            )
        better = directions[self._monitor] if mode == "auto" else mode
        if better is None and (keep_best or patience is not None or target is not None):
            raise UserError(
                f"early_stopping.mode must be min or max for {self._monitor}, which does not say whether more is "
                "better; type early_stopping.mode=min or early_stopping.mode=max"
            )
        self._sign = {"min": -1, "max": 1, None: 0}[better]
        self._patience, self._min_delta, self._target = patience, min_delta, target
        self._max_loss, self.keep_best = max_loss, keep_best
        self.best, self.best_step, self._stale = math.nan, -1, 0
        self.ended = False

    def after_evaluation(self, step: int, measured: Mapping[str, float]) -> str | None:
        """Looks at an evaluation.

        Args:
            step: Optimizer steps completed.
            measured: The loss, then the metrics in their order.

        Returns:
            Why the run is to end, if it is; `best_step` is then `step` if it was an improvement.
        """
        reason = self._look_at(step, self._monitor, measured[self._monitor])
        self.ended |= reason is not None
        return reason

    def _look_at(self, step: int, name: str, value: float) -> str | None:
        sign = self._sign
        if sign == 0:
            return None
        if not math.isnan(value) and (math.isnan(self.best) or sign * (value - self.best) > self._min_delta):
            self.best, self.best_step, self._stale = value, step, 0
        elif not self.ended:
            self._stale += 1
        if self._target is not None and sign * (value - self._target) >= 0:
            return f"early_stopping.target={self._target:g} is reached: {name} {value:.4g}"
        if self._patience is not None and self._stale >= self._patience:
            return f"{name} has not improved for {self._stale} evaluations (early_stopping.patience)"
        return None

    def after_log(self, loss: float) -> str | None:
        """Looks at a training loss; returns why the run is to end, if it is."""
        if self._max_loss is None or loss <= self._max_loss:
            return None
        self.ended = True
        return f"the training loss is {loss:g}, beyond early_stopping.max_loss={self._max_loss:g}"

    def arrays(self) -> dict[str, np.ndarray]:
        """What must survive."""
        return {
            "best": np.array(self.best),
            "best_step": np.array(self.best_step),
            "stale": np.array(self._stale),
            "ended": np.array(self.ended),
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts back what `arrays` returned."""
        self.best, self.best_step = float(arrays["best"]), int(arrays["best_step"])
        self._stale, self.ended = int(arrays["stale"]), bool(arrays["ended"])
