"""Records of metrics.jsonl as columns, and long columns as few points, for plots and reports.

A run of thousands of steps becomes at most so many medians, each over the middle 80 % of its window, so that neither a
single slow step nor a million of them hides the trend.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfscale.tracking.records import is_number

POINTS = 300


class Trend(NamedTuple):
    """A figure over windows of steps: last step, median, 10th and 90th percentile of each window."""

    steps: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def column(rows: Iterable[Mapping[str, Any]], name: str) -> np.ndarray:
    """Returns a column of the records, [n] float; NaN where a value is missing, null or no number."""
    values = (row.get(name) for row in rows)
    return np.array([float(value) if is_number(value) else math.nan for value in values], dtype=float)


def trend(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> Trend:
    """Returns at most `points` windows of equal numbers of records; windows without any value are left out."""
    window = max(1, math.ceil(len(steps) / points))
    missing = -len(steps) % window
    cut = [np.pad(each, (0, missing), constant_values=np.nan).reshape(-1, window) for each in (steps, values)]
    filled = np.isfinite(cut[1]).any(axis=1)
    low, middle, high = np.nanquantile(cut[1][filled], (0.1, 0.5, 0.9), axis=1) if filled.any() else np.zeros((3, 0))
    return Trend(np.nanmax(cut[0][filled], axis=1) if filled.any() else np.zeros(0), middle, low, high)


def increase(steps: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Returns the differences of a total that is 0 at step 0; the first is NaN if earlier records are missing."""
    before = 0.0 if len(steps) and steps[0] == 1 else math.nan
    return np.diff(total, prepend=before)
