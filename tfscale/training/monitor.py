"""One figure of the evaluations on the validation examples, compared with its best value so far.

Early stopping and the plateau schedule act on it. All processes have the same evaluations, so all decide alike.
"""

import math
from collections.abc import Mapping
from typing import Literal, final

from tfscale.errors import UserError

Directions = Mapping[str, Literal["min", "max"] | None]
"""Name of the loss and of each metric -> the better direction; None if a metric names none."""


@final
class Monitor:
    """Compares the values of one figure.

    Args:
        node: Node of the configuration that has the keys `monitor` and `mode`, for messages.
        monitor: `loss`, or the name of a metric; None: the first metric.
        mode: `min` if small values are better, `max` if large ones are; `auto` for the metric's own direction.
        min_delta: Least improvement over the best, in units of the figure.
        directions: Of the loss and all metrics.
        compares: Whether values are compared, so that a direction is needed.

    Attributes:
        name: Of the figure.
        sign: 1 if large values are better, -1 if small ones are, 0 if nothing is known.
        best: The best value so far; NaN before the first.
        min_delta: Least improvement over the best.

    Raises:
        UserError: The figure is not measured; or a direction is needed, mode is `auto`, and the metric names none.
    """

    def __init__(
        self,
        node: str,
        *,
        monitor: str | None,
        mode: Literal["auto", "min", "max"],
        min_delta: float,
        directions: Directions,
        compares: bool,
    ) -> None:
        self.name = monitor or next((name for name in directions if name != "loss"), "loss")
        if self.name not in directions:
            raise UserError(
                f"{node}.monitor must be one of {', '.join(directions)}, got {monitor}; or add a metric of that name"
            )
        better = directions[self.name] if mode == "auto" else mode
        if better is None and compares:
            raise UserError(
                f"{node}.mode must be min or max for {self.name}, which does not say whether more is better; type "
                f"{node}.mode=min or {node}.mode=max"
            )
        self.sign = {"min": -1, "max": 1, None: 0}[better]
        self.min_delta = min_delta
        self.best = math.nan

    def improves(self, value: float) -> bool:
        """Returns whether a value is better than the best, whose place it then takes; a NaN is not."""
        if math.isnan(value):
            return False
        if math.isnan(self.best) or self.sign * (value - self.best) > self.min_delta:
            self.best = value
            return True
        return False
