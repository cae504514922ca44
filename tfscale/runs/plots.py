"""Plots of a strategy's figures over the steps of a run, beside its metrics.jsonl.

A run of thousands of steps is drawn as at most POINTS medians, each over the middle 80 % of its window, so that neither
a single slow step nor a million of them hides the trend. matplotlib takes half a second to import and is imported only
when there is something to draw; its object interface needs no screen and changes no global state.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfscale.tracking.base import Measurements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 300
TENSOR_POINTS = 50
"""Points of each of many lines in one panel."""

TENSORS = 12
"""Lines that can be told apart in one panel."""

STRETCH = 4.0
"""Ratio of the largest to the smallest value above which an axis is logarithmic."""

DOTS = 60
"""Number of points up to which each has a marker."""

NAME_WIDTH = 36
"""Characters of a tensor's name in the legend; a longer name keeps its end."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccaa33")
"""Paul Tol's bright scheme, safe for colour-blind readers."""

GREY = "#555555"

NAMES = ("strategy.png", "tensors.png")
"""Files in the run directory: figures over the steps, and of the tensors."""


class _Trend(NamedTuple):
    """A figure over windows of steps: last step, median, 10th and 90th percentile of each window."""

    steps: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw(metrics: Path, folder: Path, measurements: Measurements) -> list[Path]:
    """Draws strategy.png and, where tensors were measured, tensors.png.

    Args:
        metrics: A run's metrics.jsonl; lines that are not whole are left out.
        folder: Where the pictures go.
        measurements: What the strategy measures; the panels follow its order.

    Returns:
        The pictures; none if the strategy describes no panel or nothing of it was recorded.
    """
    drawn = {name: each for name, each in measurements.items() if each.panel is not None}
    if not drawn:
        return []
    kinds: dict[str, list[dict[str, Any]]] = {"step": [], "tensor": [], "validation": []}
    for record in _records(metrics):
        kinds.get(record.get("kind", ""), []).append(record)
    steps = [record for record in kinds["step"] if drawn.keys() & record.keys()]
    figures = {NAMES[0]: _of_steps(steps, kinds["validation"], drawn)} if steps else {}
    of_tensors = {name: each for name, each in drawn.items() if each.of_tensors}
    if steps and kinds["tensor"] and of_tensors:
        figures[NAMES[1]] = _of_tensors(kinds["tensor"], of_tensors)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=110)
    return [folder / name for name in figures]


def grid(titles: Sequence[str], *, columns: int, size: tuple[float, float]) -> tuple["Figure", list["Axes"]]:
    """Returns an empty figure with panels that share the horizontal axis, row by row.

    Args:
        titles: Of the panels.
        columns: Of the grid.
        size: Width and height in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    rows = math.ceil(len(titles) / columns)
    panels = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    for empty in panels[len(titles) :]:
        empty.remove()
    panels = panels[: len(titles)]
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color="#222222")
        panel.grid(True, color="#e4e4e4", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8, color="#999999", labelcolor="#333333")
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color("#999999")
    return figure, panels


def _records(metrics: Path) -> Iterable[dict[str, Any]]:
    with metrics.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _column(records: Iterable[Mapping[str, Any]], name: str) -> np.ndarray:
    """Returns a column of the records, [n] float; NaN where a value is missing or null."""
    return np.array([record.get(name) for record in records], dtype=float)


def _trend(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> _Trend:
    """Returns at most `points` windows of equal numbers of records; windows without any value are left out."""
    window = max(1, math.ceil(len(steps) / points))
    missing = -len(steps) % window
    cut = [np.pad(each, (0, missing), constant_values=np.nan).reshape(-1, window) for each in (steps, values)]
    filled = np.isfinite(cut[1]).any(axis=1)
    low, middle, high = np.nanquantile(cut[1][filled], (0.1, 0.5, 0.9), axis=1) if filled.any() else np.zeros((3, 0))
    return _Trend(np.nanmax(cut[0], axis=1)[filled], middle, low, high)


def _line(panel: "Axes", trend: _Trend, colour: str, *, label: str | None = None, style: str = "-") -> None:
    dot = "." if len(trend.steps) <= DOTS else None
    panel.plot(trend.steps, trend.middle, style, marker=dot, color=colour, label=label, linewidth=1.4)


def _band(panel: "Axes", trend: _Trend, colour: str, *, label: str | None = None) -> None:
    panel.fill_between(trend.steps, trend.low, trend.high, color=colour, alpha=0.2, linewidth=0)
    _line(panel, trend, colour, label=label)


def scale(panel: "Axes", *, above: float = STRETCH) -> None:
    """Makes the axis of a panel logarithmic if its values differ by a factor of more than `above`.

    A zero, which has no place there, becomes a gap.
    """
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

    trends = [np.asarray(line.get_ydata(), dtype=float) for line in panel.lines]
    values = np.concatenate([np.zeros(0), *(trend[trend > 0] for trend in trends)])
    stretch = values.max() / values.min() if values.size else 1.0
    if stretch <= above:
        return
    for line, trend in zip(panel.lines, trends, strict=True):
        line.set_ydata(np.where(trend > 0, trend, np.nan))
    panel.set_yscale("log")
    digits = range(1, 10) if stretch <= STRETCH else (1, 2, 5) if stretch < 1000 else (1,)
    large = EngFormatter(sep="")
    panel.yaxis.set_major_locator(LogLocator(subs=digits, numticks=12))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1000 else large(value)))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _of_steps(
    records: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]], drawn: Measurements
) -> "Figure":
    """Returns a figure with the loss, then a panel for each title; several figures in a panel have a legend."""
    titles = ["loss", *dict.fromkeys(str(each.panel) for each in drawn.values())]
    figure, panels = grid(titles, columns=2, size=(11, 2.83 * math.ceil(len(titles) / 2)))
    by_title = dict(zip(titles, panels, strict=False))
    steps = _column(records, "step")
    _band(panels[0], _trend(steps, _column(records, "loss")), COLOURS[0], label="training")
    if evaluations:
        tested = _trend(_column(evaluations, "step"), _column(evaluations, "loss"))
        _line(panels[0], tested, COLOURS[1], label="validation")
    for name, each in drawn.items():
        panel = by_title[str(each.panel)]
        shares = [other for other, one in drawn.items() if one.panel == each.panel]
        values = _column(records, name)
        trend = _trend(steps, _increase(steps, values) if each.total else values)
        if trend.steps.size:
            _band(panel, trend, COLOURS[shares.index(name)], label=each.label if len(shares) > 1 else None)
    always_log = {each.panel for each in drawn.values() if each.log_scale}
    for title, panel in by_title.items():
        scale(panel, above=1.0 if title in always_log else STRETCH)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8, frameon=False, ncols=3)
    for panel in panels[-2:]:
        panel.set_xlabel("step", fontsize=9)
    return figure


def _increase(steps: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Returns the differences of a total that is 0 at step 0; the first is NaN if earlier records are missing."""
    before = 0.0 if steps[0] == 1 else np.nan
    return np.diff(total, prepend=before)


def _of_tensors(records: Sequence[Mapping[str, Any]], drawn: Measurements) -> "Figure":
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_name.setdefault(str(record.get("name")), []).append(record)
    last = list(drawn)[-1]
    chosen = _largest(by_name, last)
    figure, panels = grid([str(each.panel) for each in drawn.values()], columns=1, size=(11, 3 * len(drawn)))
    labels = _short(chosen)
    for panel, (what, measurement) in zip(panels, drawn.items(), strict=True):
        trends = [
            _trend(_column(by_name[name], "step"), _column(by_name[name], what), TENSOR_POINTS) for name in chosen
        ]
        if len(trends) > 1 and all(np.array_equal(each.middle, trends[0].middle) for each in trends):
            _line(panel, trends[0], GREY)
            panel.set_title("one for all tensors", loc="right", fontsize=9, color=GREY)
        else:
            for place, (trend, label) in enumerate(zip(trends, labels, strict=True)):
                style = ("-", "--")[place // len(COLOURS)]
                _line(panel, trend, COLOURS[place % len(COLOURS)], label=label, style=style)
        scale(panel, above=1.0 if measurement.log_scale else STRETCH)
    panels[-1].set_xlabel("step", fontsize=9)
    told = f"{len(chosen)} of {len(by_name)} tensors:\nthe largest by {drawn[last].label}"
    title = told if len(chosen) < len(by_name) else None
    handles, names = next((each for panel in panels if (each := panel.get_legend_handles_labels())[0]), ([], []))
    figure.legend(handles, names, loc="outside right upper", fontsize=8, frameon=False, title=title, title_fontsize=8)
    return figure


def _largest(by_name: Mapping[str, Sequence[Mapping[str, Any]]], what: str) -> list[str]:
    """Returns the names of at most TENSORS tensors with the largest peaks of a figure, in the model's order."""

    def peak(name: str) -> float:
        values = _column(by_name[name], what)
        return float(np.nanmax(values)) if np.isfinite(values).any() else 0.0

    most = set(sorted(by_name, key=peak, reverse=True)[:TENSORS])
    return [name for name in by_name if name in most]


def _short(names: Sequence[str]) -> list[str]:
    """Returns the names without their common prefix, at most NAME_WIDTH characters each."""
    parts = [name.split("/") for name in names]
    common = 0
    while all(len(each) > common + 1 for each in parts) and len({each[common] for each in parts}) == 1:
        common += 1
    ends = ["/".join(each[common:]) for each in parts]
    return [end if len(end) <= NAME_WIDTH else f"…{end[1 - NAME_WIDTH :]}" for end in ends]
