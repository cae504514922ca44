"""Records of metrics.jsonl as columns, and long columns as few points, for plots and reports.

A run of thousands of steps becomes at most so many medians, each over the middle 80 % of its window, so that neither a
single slow step nor a million of them hides the trend.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

POINTS = 300

LARGEST = 1e300
"""Values from here on are damage: an integer of JSON may be too large for a float."""


class Trend(NamedTuple):
    """A figure over windows of steps: last step, median, 10th and 90th percentile of each window."""

    steps: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def records(metrics: Path, damaged: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yields the records of metrics.jsonl; damaged lines, and those without a step, are left out.

    Args:
        metrics: The file.
        damaged: Takes the numbers of the lines that are left out, from 1.

    Raises:
        OSError: The file cannot be read.
    """
    with metrics.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict) and _is_number(record.get("step")):
                yield record
            elif damaged is not None:
                damaged.append(number)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def column(rows: Iterable[Mapping[str, Any]], name: str) -> np.ndarray:
    """Returns a column of the records, [n] float; NaN where a value is missing, null or no number."""
    values = (row.get(name) for row in rows)
    return np.array([float(value) if _is_number(value) else math.nan for value in values], dtype=float)


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
