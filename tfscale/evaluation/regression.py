"""Figures of measurements, for each column and averaged.

scikit-learn's functions need all values at once, and what they return depends on the order of the values in its last
bits. Here the sums of y, p, y^2, y p, p^2 and |y - p| are exact (targets y and predictions p are float32, so their
products are exact in float64), and every figure but a square root is rounded once. Tests hold them against
scikit-learn.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import numpy as np

from tfscale.evaluation import exact_sums, pictures
from tfscale.evaluation.base import Figures, Scored, State, Undefined, document
from tfscale.evaluation.classification import NO_EXAMPLES

NAME = "regression"
SUMS = 6
"""Sums of a column: y, p, y^2, y p, p^2, |y - p|."""

POINTS = 1000
"""Examples that are drawn."""

DRAWN = 4
"""Columns that are drawn."""

FIGURES = ("mse", "mae", "rmse", "rse", "r2", "pearson")


@final
class Regression:
    """Errors, explained variance and correlation; implements `base.Suite`.

    Args:
        columns: Number of measurements of an example, or 1 to take all of an example's as one column.
        names: Of the columns; None for numbers.
    """

    name = NAME

    def __init__(self, *, columns: int, names: Sequence[str] | None = None) -> None:
        self._columns = columns
        self._names = [str(each) for each in (range(columns) if names is None else names)]

    def zero(self) -> State:
        """Returns the state of no examples."""
        drawn = min(self._columns, DRAWN)
        return {
            "count": np.zeros(1, np.int64),
            "sums": exact_sums.zeros(SUMS * self._columns),
            "order": np.zeros(0, np.int64),
            "points": np.zeros((0, drawn, 2), np.float32),
        }

    def of(self, scored: Scored) -> State:
        """Returns the state of examples: targets and predictions, [b, columns] float32."""
        true, predicted = (each.reshape(-1, self._columns) for each in (scored.targets, scored.scores))
        y, p = true.astype(np.float64), predicted.astype(np.float64)
        sums = exact_sums.of(np.concatenate([y, p, y * y, y * p, p * p, np.abs(y - p)], axis=1))
        numbers = np.repeat(scored.numbers, len(true) // max(1, len(scored.numbers)))
        points = np.stack([true, predicted], axis=2)[:, :DRAWN].astype(np.float32)
        order, points = _first(_shuffled(numbers), points)
        return {"count": np.array([len(true)], np.int64), "sums": sums, "order": order, "points": points}

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the examples of both."""
        order, points = _first(*(np.concatenate([one[name], other[name]]) for name in ("order", "points")))
        return {
            "count": one["count"] + other["count"],
            "sums": exact_sums.merged(one["sums"], other["sums"]),
            "order": order,
            "points": points,
        }

    def figures(self, state: State) -> Figures:
        """Returns the figures of each column, and their means over the columns where they are defined."""
        count = int(state["count"][0])
        if not count:
            return document({"examples": 0, **dict.fromkeys(FIGURES, NO_EXAMPLES)})
        sums = exact_sums.fractions(state["sums"])
        rows = [_column(count, sums[number :: self._columns]) for number in range(self._columns)]
        figures: dict[str, Any] = {"examples": count, **{name: _mean([row[name] for row in rows]) for name in FIGURES}}
        if self._columns > 1:
            figures["undefined_columns"] = {
                name: sum(isinstance(row[name], Undefined) for row in rows) for name in FIGURES
            }
            figures["per_column"] = [{"column": name, **row} for name, row in zip(self._names, rows, strict=True)]
        return document(figures)

    def draw(self, state: State, folder: Path, stem: str) -> Sequence[Path]:
        """Draws predictions over targets, and residuals over predictions, of at most POINTS examples."""
        if not len(state["points"]):
            return []
        return [pictures.residuals(state["points"], self._names[:DRAWN], folder / f"{stem}residuals.png")]


def _column(count: int, sums: Sequence[Fraction | None]) -> dict[str, float | Undefined]:
    """Returns the figures of a column from its sums, in the order of `SUMS`."""
    infinite = Undefined(why="a target is not finite")
    y, p, yy, yp, pp, absolute = (each if each is not None else Fraction(0) for each in sums)
    if any(each is None for each in sums):
        return dict.fromkeys(FIGURES, infinite)
    squares = yy - 2 * yp + pp
    spread, of_predictions = count * yy - y * y, count * pp - p * p  # count^2 times the variances
    constant = Undefined(why="the targets have no variance")
    rse = count * squares / spread if spread else None
    mse = float(squares / count)
    return {
        "mse": mse,
        "mae": float(absolute / count),
        "rmse": math.sqrt(mse),
        "rse": constant if rse is None else float(rse),
        "r2": constant if rse is None else float(1 - rse),
        "pearson": _pearson(count * yp - y * p, spread, of_predictions),
    }


def _pearson(covariance: Fraction, of_targets: Fraction, of_predictions: Fraction) -> float | Undefined:
    for variance, what in ((of_targets, "targets"), (of_predictions, "predictions")):
        if not variance:
            return Undefined(why=f"the {what} have no variance")
    return math.copysign(math.sqrt(covariance**2 / (of_targets * of_predictions)), covariance)


def _mean(values: Sequence[float | Undefined]) -> float | Undefined:
    present = [value for value in values if not isinstance(value, Undefined)]
    return math.fsum(present) / len(present) if present else values[0]


def _shuffled(numbers: np.ndarray) -> np.ndarray:
    """Returns a key for each example, in an order that is not that of the examples, which may be sorted."""
    return (numbers * 2654435761 + 12345) % 4294967296


def _first(order: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.lexsort((*points.reshape(len(points), points[0].size if len(points) else 0).T, order))[:POINTS]
    return order[chosen], points[chosen]
