"""Calibration: how often predictions of a given probability come true.

Of several classes the probability of the predicted class is binned, of binary and multilabel outputs that of each
label. Bins are those of scikit-learn's `calibration_curve`, ]low, high] but for the first. The expected calibration
error is the mean of |observed - predicted| over the bins, weighted by their examples.

References:
    Guo et al., 2017, On calibration of modern neural networks.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from tfscale.evaluation import exact_sums, pictures
from tfscale.evaluation.base import Figures, Scored, State, Undefined, document
from tfscale.evaluation.classification import NO_EXAMPLES
from tfscale.evaluation.probabilities import NOT_PROBABILITIES, outside

NAME = "calibration"
BINS = 10
HISTOGRAM_BINS = 50


@final
class Calibration:
    """Reliability bins, their error, and histograms of the probabilities; implements `base.Suite`.

    Args:
        columns: Number of probabilities of an example.
        targets: `classes` if a target is a class number; `labels` if it has 0 or 1 for each column.
    """

    name = NAME

    def __init__(self, *, columns: int, targets: Literal["classes", "labels"]) -> None:
        self._columns, self._targets = columns, targets

    def zero(self) -> State:
        """Returns the state of no examples."""
        return {
            "counts": np.zeros((BINS, 2), np.int64),
            "sums": exact_sums.zeros(BINS),
            "histograms": np.zeros((2, HISTOGRAM_BINS), np.int64),
            "outside": np.zeros(1, np.int64),
        }

    def of(self, scored: Scored) -> State:
        """Returns the state of examples: targets [b] or [b, columns], and probabilities [b, columns]."""
        scores = scored.scores.reshape(-1, self._columns).astype(np.float64)
        if self._targets == "classes":
            best = np.argmax(scores, axis=1)
            true = (best == scored.targets.reshape(-1)).astype(np.int64)
            probabilities = scores[np.arange(len(scores)), best]
        else:
            true, probabilities = (scored.targets.reshape(-1) > 0.5).astype(np.int64), scores.reshape(-1)
        beyond = outside(scores)
        if beyond[0]:
            return {**self.zero(), "outside": beyond}
        bins = _bins(probabilities, BINS)
        by_bin = np.where(bins[:, np.newaxis] == np.arange(BINS), probabilities[:, np.newaxis], 0.0)
        return {
            "counts": _counts(bins, true, BINS),
            "sums": exact_sums.of(by_bin),
            "histograms": _counts(_bins(probabilities, HISTOGRAM_BINS), true, HISTOGRAM_BINS).T.copy(),
            "outside": beyond,
        }

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the examples of both."""
        added = {name: one[name] + other[name] for name in ("counts", "histograms", "outside")}
        return {**added, "sums": exact_sums.merged(one["sums"], other["sums"])}

    def figures(self, state: State) -> Figures:
        """Returns the error, and for each bin its bounds, its count, the mean probability and the rate observed."""
        total = int(state["counts"].sum())
        why = NOT_PROBABILITIES if state["outside"][0] else NO_EXAMPLES if not total else None
        if why is not None:
            return document({"ece": why, "mce": why})
        rows, gaps = [], []
        for number, (counts, summed) in enumerate(_pairs(state)):
            count = sum(counts)
            row: dict[str, Any] = {"low": number / BINS, "high": (number + 1) / BINS, "count": count}
            if count:
                predicted, observed = summed / count, Fraction(counts[1], count)
                row |= {"mean_probability": float(predicted), "observed_rate": float(observed)}
                gaps.append((abs(predicted - observed), count))
            else:
                empty = Undefined(why="the bin is empty")
                row |= {"mean_probability": empty, "observed_rate": empty}
            rows.append(row)
        figures = {
            "ece": float(sum(gap * count for gap, count in gaps) / total),
            "mce": float(max(gap for gap, _ in gaps)),
            "predictions": total,
            "mean_probability": float(sum((summed for _, summed in _pairs(state)), Fraction(0)) / total),
            "observed_rate": int(state["counts"][:, 1].sum()) / total,
            "bins": rows,
            "histograms": {"not_true": state["histograms"][0], "true": state["histograms"][1]},
        }
        return document(figures)

    def draw(self, state: State, folder: Path, stem: str) -> Sequence[Path]:
        """Draws the reliability diagram over the histogram of probabilities."""
        if state["outside"][0] or not state["counts"].sum():
            return []
        points = [
            (float(summed / sum(counts)), counts[1] / sum(counts)) for counts, summed in _pairs(state) if sum(counts)
        ]
        error = self.figures(state)["ece"]
        return [pictures.reliability(points, state["histograms"].sum(axis=0), error, folder / f"{stem}reliability.png")]


def _bins(probabilities: np.ndarray, bins: int) -> np.ndarray:
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probabilities)


def _counts(bins: np.ndarray, true: np.ndarray, size: int) -> np.ndarray:
    """Returns [size, 2], the examples of each bin that did not come true, and those that did."""
    return np.bincount(2 * bins + true, minlength=2 * size).reshape(size, 2).astype(np.int64)


def _pairs(state: State) -> list[tuple[list[int], Fraction]]:
    """Returns the counts and the sum of probabilities of each bin."""
    sums = [each or Fraction(0) for each in exact_sums.fractions(state["sums"])]
    return list(zip(state["counts"].tolist(), sums, strict=True))
