"""The choice of the fastest of several strategies, made by all processes alike."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any, final

import tensorflow as tf

from tfscale.collectives.base import Collective

PARTS = 3
"""Parts of a measurement; the median counts."""

PART_SECONDS = 0.5
"""Shortest duration of a part."""

SETTLING = 16
"""Steps before the first part that counts: they compile, and thresholds are agreed."""

PATIENCE = 20.0
"""Seconds after which a measurement ends with what it has."""


@final
class Fastest:
    """Chooses among strategies by the time of their steps.

    Args:
        candidates: Name -> settings of a strategy, the preferred one first.
        collective: Of the job.
    """

    def __init__(self, *, candidates: Mapping[str, Mapping[str, Any]], collective: Collective) -> None:
        self.candidates = candidates
        self._collective = collective

    def seconds(self, train: Callable[[int], float], *, every: int) -> float:
        """Trains for some seconds, by the same number of steps in all processes. All must call it.

        Args:
            train: Trains a number of steps and returns the mean seconds of one.
            every: Steps in a round, at whose end an exchange takes place.

        Returns:
            The seconds of a step, the mean over all replicas.
        """
        steps, done, spent, parts = every, 0, 0.0, list[float]()
        while True:
            seconds = self._mean(train(steps))
            done, spent = done + steps, spent + seconds * steps
            if seconds * steps < PART_SECONDS:
                steps *= 2
            elif done > SETTLING:
                parts.append(seconds)
            if len(parts) == PARTS:
                return statistics.median(parts)
            if spent > PATIENCE:
                return statistics.median(parts or [seconds])

    def choice(self, seconds: Mapping[str, float]) -> str:
        """Returns the name of the fastest candidate; the first one of those that are equal."""
        return min(self.candidates, key=lambda name: seconds[name])

    def _mean(self, seconds: float) -> float:
        own = tf.constant([seconds])
        return float(self._collective.mean([own for _ in self._collective.ranks])[0])
