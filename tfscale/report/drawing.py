"""Shapes of the page's own drawings, as SVG paths: bars of a timeline, and parallel coordinates.

Curves are drawn in the browser; these need no script, so they print and are read as they are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.report.timeline import RankTimes, Timeline

HEIGHT = 100
"""Of a rank's bars, in units of their drawing; its width is 1000."""

LABELS = 6
"""Values of an axis up to which each has a label."""


def bars(timeline: Timeline, rank: RankTimes) -> list[tuple[int, str]]:
    """Returns (group, path) of a rank's timeline: in each bin, a bar with the share of wall time of each group."""
    width = timeline.length / rank.bins.shape[1] or 1.0
    shares = np.clip(rank.bins / width, 0, None)
    shares = shares / np.maximum(shares.sum(axis=0, keepdims=True), 1.0)
    tops = HEIGHT * (1 - np.cumsum(shares, axis=0))
    heights = HEIGHT * shares
    across = 1000 / rank.bins.shape[1]
    wide = f"{1.02 * across:.4g}"  # a little overlap, so that no gap shines through
    paths = []
    for group in range(len(timeline.groups)):
        parts = [
            f"M{index * across:.5g} {tops[group, index]:.4g}h{wide}v{heights[group, index]:.4g}h-{wide}z"
            for index in np.flatnonzero(heights[group] > 0.2)
        ]
        if parts:
            paths.append((group, "".join(parts)))
    return paths


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of parallel coordinates.

    Attributes:
        name: Key or metric.
        ticks: (height from 0 at the bottom to 1, label).
        places: Height of each run; None for one without a value.
    """

    name: str
    ticks: Sequence[tuple[float, str]]
    places: Sequence[float | None]


def axis(name: str, values: Sequence[str]) -> Axis:
    """Returns an axis for values as text: numbers on a scale, logarithmic if they differ tenfold, else categories."""
    given = [value for value in values if value]
    numbers = [_number(value) for value in given]
    if given and all(number is not None for number in numbers):
        return _of_numbers(name, values)
    names = list(dict.fromkeys(given))
    heights = {each: (index + 0.5) / len(names) for index, each in enumerate(names)}
    return Axis(
        name=name, ticks=[(heights[each], each) for each in names], places=[heights.get(value) for value in values]
    )


def _of_numbers(name: str, values: Sequence[str]) -> Axis:
    numbers = [_number(value) for value in values]
    given = sorted({number for number in numbers if number is not None})
    low, high = given[0], given[-1]
    is_log = low > 0 and high / low >= 10

    def height(value: float) -> float:
        if low == high:
            return 0.5
        return math.log(value / low) / math.log(high / low) if is_log else (value - low) / (high - low)

    middle = math.sqrt(low * high) if is_log else (low + high) / 2
    shown = given if len(given) <= LABELS else [low, middle, high]
    return Axis(
        name=name,
        ticks=[(height(value), f"{value:.4g}") for value in _apart(shown, height)],
        places=[None if number is None else height(number) for number in numbers],
    )


def _apart(values: Sequence[float], height: Callable[[float], float]) -> list[float]:
    """Returns the values whose labels do not overlap; the last always is among them."""
    kept = [values[-1]]
    for value in reversed(values[:-1]):
        if height(kept[-1]) - height(value) > 0.07:
            kept.append(value)
    return kept


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def strokes(axes: Sequence[Axis], width: float, height: float) -> list[str]:
    """Returns the path of each run through the axes; a gap where it has no value."""
    runs = len(axes[0].places) if axes else 0
    across = width / max(1, len(axes) - 1)
    paths = []
    for run in range(runs):
        points = [
            None if (place := each.places[run]) is None else (index * across, height * (1 - place))
            for index, each in enumerate(axes)
        ]
        path, begins = "", True
        for point in points:
            if point is None:
                begins = True
                continue
            path += f"{'M' if begins else 'L'}{point[0]:.5g} {point[1]:.5g}"
            begins = False
        paths.append(path)
    return paths
