"""Chooses the evaluations on the validation examples that a person sees as lines: about a screenful, and the last.

An evaluation follows every epoch, and a line for each would hide everything else. Elsewhere than on a terminal the
lines are evenly spaced, by the step alone, so that a resumed run prints those of an uninterrupted one. On a terminal,
whose bar shows every evaluation, a line means that the evaluation is the best so far. metrics.jsonl has all of them.
"""

import math
from typing import final

from tfscale.tracking.base import Record, RunInfo

LINES = 20
"""Lines of evaluations of one run, at most; the last has a line besides."""


@final
class EvaluationLines:
    """Decides for each evaluation of one run.

    Args:
        run: The run.
        only_best: Whether only an improvement has a line; all are compared alike if no direction is known.
    """

    def __init__(self, run: RunInfo, *, only_best: bool) -> None:
        self._monitored, self._steps = run.monitored, run.steps
        self._every = run.evaluate_every or 1
        self._apart = 1 if run.evaluate_every is None else math.ceil(run.steps / run.evaluate_every / LINES)
        self._sign = 0 if run.monitored is None else {"min": -1, "max": 1, None: 0}[run.monitored.direction]
        self._only_best = only_best and self._sign != 0
        self.best = math.nan if run.monitored is None else run.monitored.best
        self._last: int | None = None

    def is_due(self, step: int, values: Record) -> bool:
        """Returns whether the evaluation after `step` steps has a line; call it once for each."""
        improves = self._improves(values)
        if self._only_best:
            due = improves and (self._last is None or step - self._last >= self._apart * self._every)
        else:
            due = step // self._every % self._apart == 0
        if due or step == self._steps:
            self._last = step
            return True
        return False

    def _improves(self, values: Record) -> bool:
        value = None if self._monitored is None else values.get(self._monitored.name)
        if self._monitored is None or self._sign == 0 or not isinstance(value, float) or math.isnan(value):
            return False
        if math.isnan(self.best) or self._sign * (value - self.best) > self._monitored.min_delta:
            self.best = value
            return True
        return False
