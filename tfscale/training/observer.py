"""Changes of each tensor by a step, for trackers that ask: update:parameter ratios and histograms.

The change of a step is the difference of two copies of the parameters, made around the whole step: so it is right for
every strategy, averaging of parameters included, and the compiled step knows nothing of it. A run that does not ask has
no observer; one that asks pays for two copies at log steps, in one process.
"""

from collections.abc import Callable, Iterator
from typing import final

import numpy as np

from tfscale.tracking.base import Record
from tfscale.training.replica import Replica

BUCKETS = 30
"""Ranges of a histogram."""


@final
class Observer:
    """Observes the tensors of one replica.

    Args:
        replica: What trains.
        ratios: Whether ratios are asked for.
        histograms: Whether histograms are asked for.
        is_due: Returns whether a step is observed, of its number.
    """

    def __init__(self, replica: Replica, *, ratios: bool, histograms: bool, is_due: Callable[[int], bool]) -> None:
        self._replica, self._is_due = replica, is_due
        self._wants_ratios, self._wants_histograms = ratios, histograms
        self._before: list[np.ndarray] = []
        self._seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def before(self, step: int) -> None:
        """Copies the parameters, if the step that is about to be made is observed."""
        self._before = self._copies() if self._is_due(step) else []

    def after(self) -> None:
        """Copies the parameters again, if the step that was made is observed."""
        if self._before:
            pairs = zip(self._copies(), self._before, strict=True)
            changes = [(after, after - before) for after, before in pairs]
            self._seen, self._before = dict(zip(self._replica.layout.names, changes, strict=True)), []

    def _copies(self) -> list[np.ndarray]:
        return [np.array(tensor.numpy()) for tensor in self._replica.trainable_tensors()]

    def ratios(self) -> dict[str, float]:
        """Returns |change| / |tensor| of the step observed last, by tensor; without tensors that were all zero."""
        norms = {
            name: (np.linalg.norm(change), np.linalg.norm(tensor - change))
            for name, (tensor, change) in (self._seen.items() if self._wants_ratios else ())
        }
        return {name: float(change / before) for name, (change, before) in norms.items() if before > 0}

    def histograms(self) -> Iterator[Record]:
        """Yields records of `Kind.HISTOGRAM` of the step observed last."""
        for name, pair in self._seen.items() if self._wants_histograms else ():
            for of, values in zip(("parameters", "updates"), pair, strict=True):
                finite = values[np.isfinite(values)]
                if finite.size:
                    counts, edges = np.histogram(finite, BUCKETS)
                    numbered = {f"count_{index}": float(count) for index, count in enumerate(counts)}
                    yield {"name": name, "of": of, "low": float(edges[0]), "high": float(edges[-1]), **numbered}

    def clear(self) -> None:
        """Lets go of the copies."""
        self._seen = {}
