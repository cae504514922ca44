"""What sharing did over a run, as pictures beside its metrics.jsonl.

A run of thousands of steps is drawn as at most POINTS medians, each with the middle 80 % of its window behind it, so
that neither a single slow step nor a million of them hides the course. matplotlib costs half a second to import and is
imported only when there is something to draw; its object interface needs no screen and changes no global state.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 300
TENSOR_POINTS = 50
"""Of each of many lines in one panel, drawn without what is behind them."""

TENSORS = 12
"""As many as a legend and an eye can tell apart."""

STRETCH = 4.0
"""Largest / smallest value from which an axis is logarithmic; below, its labels would be too few."""

DOTS = 60
"""Up to so many points are shown one by one."""

NAME_WIDTH = 36
"""Letters of a tensor's name in the legend; the end of a name tells more than its beginning."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccaa33")
"""Paul Tol's bright scheme, which colour-blind readers can tell apart."""

GREY = "#555555"
PHASES = {"encode_ms": "encode", "exchange_ms": "exchange", "decode_ms": "decode"}


class _Course(NamedTuple):
    """A measurement over steps: of each window its last step, its median and its 10th and 90th percentile."""

    steps: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw(metrics: Path, folder: Path) -> list[Path]:
    """Draws sharing.png and, where tensors were measured, tensors.png.

    Args:
        metrics: A run's metrics.jsonl; lines that are not whole are left out.
        folder: Where the pictures go.

    Returns:
        What was drawn; nothing for a run without a density.
    """
    kinds: dict[str, list[dict[str, Any]]] = {"step": [], "tensor": [], "evaluation": []}
    for record in _records(metrics):
        kinds.get(record.get("kind", ""), []).append(record)
    steps = [record for record in kinds["step"] if "density" in record]
    figures = {"sharing.png": _sharing(steps, kinds["evaluation"])} if steps else {}
    if steps and kinds["tensor"]:
        figures["tensors.png"] = _tensors(kinds["tensor"])
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=110)
    return [folder / name for name in figures]


def grid(titles: Sequence[str], *, columns: int, size: tuple[float, float]) -> tuple["Figure", list["Axes"]]:
    """An empty figure of panels, read row by row, that share the horizontal axis.

    Args:
        titles: Of the panels.
        columns: Of the grid.
        size: Width and height in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    rows = math.ceil(len(titles) / columns)
    panels = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
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
    """The records' values; NaN for what is missing or null."""
    return np.array([record.get(name) for record in records], dtype=float)


def _course(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> _Course:
    """At most so many windows of equally many records; one without any value is left out."""
    window = max(1, math.ceil(len(steps) / points))
    missing = -len(steps) % window
    cut = [np.pad(each, (0, missing), constant_values=np.nan).reshape(-1, window) for each in (steps, values)]
    filled = np.isfinite(cut[1]).any(axis=1)
    low, middle, high = np.nanquantile(cut[1][filled], (0.1, 0.5, 0.9), axis=1) if filled.any() else np.zeros((3, 0))
    return _Course(np.nanmax(cut[0], axis=1)[filled], middle, low, high)


def _line(panel: "Axes", course: _Course, colour: str, *, label: str | None = None, style: str = "-") -> None:
    dot = "." if len(course.steps) <= DOTS else None
    panel.plot(course.steps, course.middle, style, marker=dot, color=colour, label=label, linewidth=1.4)


def _band(panel: "Axes", course: _Course, colour: str, *, label: str | None = None) -> None:
    panel.fill_between(course.steps, course.low, course.high, color=colour, alpha=0.2, linewidth=0)
    _line(panel, course, colour, label=label)


def scale(panel: "Axes", *, above: float = STRETCH) -> None:
    """Makes a panel whose values differ by a factor of more than `above` logarithmic, with labels that are numbers.

    A zero, which has no place there, becomes a gap.
    """
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

    courses = [np.asarray(line.get_ydata(), dtype=float) for line in panel.lines]
    values = np.concatenate([np.zeros(0), *(course[course > 0] for course in courses)])
    stretch = values.max() / values.min() if values.size else 1.0
    if stretch <= above:
        return
    for line, course in zip(panel.lines, courses, strict=True):
        line.set_ydata(np.where(course > 0, course, np.nan))
    panel.set_yscale("log")
    digits = range(1, 10) if stretch <= STRETCH else (1, 2, 5) if stretch < 1000 else (1,)
    large = EngFormatter(sep="")
    panel.yaxis.set_major_locator(LogLocator(subs=digits, numticks=12))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1000 else large(value)))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _sharing(records: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> "Figure":
    titles = (
        "loss",
        "density: elements sent / all",
        "threshold",
        "largest |residual| / threshold",
        "bytes sent a step, all replicas here",
        "milliseconds a step",
    )
    figure, panels = grid(titles, columns=2, size=(11, 8.5))
    steps = _column(records, "step")
    for panel, name in zip(panels, ("loss", "density", "threshold", "residual_ratio"), strict=False):
        label = "training" if name == "loss" else None
        _band(panel, _course(steps, _column(records, name)), COLOURS[0], label=label)
    if evaluations:
        tested = _course(_column(evaluations, "step"), _column(evaluations, "loss"))
        _line(panels[0], tested, COLOURS[1], label="test")
    _band(panels[4], _course(steps, _bytes_a_step(steps, _column(records, "bytes_sent"))), COLOURS[0])
    for (name, label), colour in zip(PHASES.items(), COLOURS, strict=False):
        course = _course(steps, _column(records, name))
        if course.steps.size:
            _band(panels[5], course, colour, label=label)
    for place, panel in enumerate(panels):
        scale(panel, above=1.0 if place == 1 else STRETCH)
    for panel in (panels[0], panels[5]):
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8, frameon=False, ncols=3)
    for panel in panels[4:]:
        panel.set_xlabel("step", fontsize=9)
    return figure


def _bytes_a_step(steps: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Differences of a running total that is 0 at step 0; if the first records are missing, the first is unknown."""
    before = 0.0 if steps[0] == 1 else np.nan
    return np.diff(total, prepend=before)


def _tensors(records: Sequence[Mapping[str, Any]]) -> "Figure":
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_name.setdefault(str(record.get("name")), []).append(record)
    chosen = _interesting(by_name)
    titles = ("density: elements sent / all", "threshold", "largest |residual| / threshold")
    figure, panels = grid(titles, columns=1, size=(11, 9))
    labels = _short(chosen)
    for panel, what in zip(panels, ("density", "threshold", "residual_ratio"), strict=True):
        courses = [
            _course(_column(by_name[name], "step"), _column(by_name[name], what), TENSOR_POINTS) for name in chosen
        ]
        if what == "threshold" and all(np.array_equal(each.middle, courses[0].middle) for each in courses):
            _line(panel, courses[0], GREY)
            panel.set_title("one for all tensors", loc="right", fontsize=9, color=GREY)
        else:
            for place, (course, label) in enumerate(zip(courses, labels, strict=True)):
                style = ("-", "--")[place // len(COLOURS)]
                _line(panel, course, COLOURS[place % len(COLOURS)], label=label, style=style)
        scale(panel, above=1.0 if what == "density" else STRETCH)
    panels[-1].set_xlabel("step", fontsize=9)
    told = f"{len(chosen)} of {len(by_name)} tensors:\nthe largest |residual| / threshold"
    title = told if len(chosen) < len(by_name) else None
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=8, frameon=False, title=title, title_fontsize=8)
    return figure


def _interesting(by_name: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Those whose residuals outgrew the threshold most, in the model's order: where sharing strains shows there."""

    def peak(name: str) -> float:
        values = _column(by_name[name], "residual_ratio")
        return float(np.nanmax(values)) if np.isfinite(values).any() else 0.0

    most = set(sorted(by_name, key=peak, reverse=True)[:TENSORS])
    return [name for name in by_name if name in most]


def _short(names: Sequence[str]) -> list[str]:
    """Names without the folders that all of them begin with, and not wider than NAME_WIDTH."""
    parts = [name.split("/") for name in names]
    common = 0
    while all(len(each) > common + 1 for each in parts) and len({each[common] for each in parts}) == 1:
        common += 1
    ends = ["/".join(each[common:]) for each in parts]
    return [end if len(end) <= NAME_WIDTH else f"…{end[1 - NAME_WIDTH :]}" for end in ends]
