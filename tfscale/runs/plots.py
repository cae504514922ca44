"""Pictures of a run, beside its metrics.jsonl: curves.png of every run, and those of a strategy that describes panels.

curves.png has the loss, the metrics, the learning rate and the speed; strategy.png the strategy's figures; tensors.png
those of each tensor.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfscale.runs.panels import COLOURS, STRETCH, band, grid, legend, line, scale
from tfscale.runs.trends import column, increase, trend
from tfscale.tracking.base import Measurements
from tfscale.tracking.records import records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TENSOR_POINTS = 50
"""Points of each of many lines in one panel."""

TENSORS = 12
"""Lines that can be told apart in one panel."""

NAME_WIDTH = 36
"""Characters of a tensor's name in the legend; a longer name keeps its end."""

GREY = "#555555"

NAMES = ("curves.png", "strategy.png", "tensors.png")
"""Files in the run directory: loss, metrics and speed; the strategy's figures; those of the tensors."""

FIGURES: Mapping[str, str] = {"learning_rate": "learning rate", "samples_per_second": "samples/s"}
"""Figures of log records in curves.png, and the titles of their panels."""

EVALUATIONS: Mapping[str, str] = {"validation": COLOURS[1], "test": COLOURS[2]}
"""Kinds of records with metrics, and the colours of their lines."""

Records = Sequence[Mapping[str, Any]]


def draw(metrics: Path, folder: Path, measurements: Measurements) -> list[Path]:
    """Draws curves.png and, where the strategy's figures were recorded, strategy.png and tensors.png.

    Args:
        metrics: A run's metrics.jsonl; lines that are not whole are left out.
        folder: Where the pictures go.
        measurements: What the strategy measures; the panels follow its order.

    Returns:
        The pictures; none if no step was recorded.
    """
    kinds: dict[str, list[dict[str, Any]]] = {name: [] for name in ("step", "train", "tensor", *EVALUATIONS)}
    for record in records(metrics):
        kinds.get(str(record.get("kind")), []).append(record)
    drawn = {name: each for name, each in measurements.items() if each.panel is not None}
    of_tensors = {name: each for name, each in drawn.items() if each.of_tensors}
    steps = [record for record in kinds["step"] if drawn.keys() & record.keys()]
    figures: dict[str, Figure] = {}
    if kinds["step"]:
        figures[NAMES[0]] = _curves(kinds)
    if steps:
        figures[NAMES[1]] = _of_steps(steps, kinds, drawn)
    if steps and kinds["tensor"] and of_tensors:
        figures[NAMES[2]] = _of_tensors(kinds["tensor"], of_tensors)
    for name, figure in figures.items():
        figure.suptitle(title(folder.name, kinds), x=0.01, ha="left", fontsize=11)
        figure.savefig(folder / name, dpi=110)
    return [folder / name for name in figures]


def title(run: str, kinds: Mapping[str, Records]) -> str:
    """Returns a run's name and its last evaluation on test examples, or on validation examples without any."""
    for kind in ("test", "validation"):
        if kinds[kind]:
            last = {name: value for name, value in kinds[kind][-1].items() if isinstance(value, int | float)}
            results = [name for name in last if name not in ("step", "loss")] or ["loss"]
            shown = ", ".join(f"{name.replace('_', ' ')} {last[name]:.4g}" for name in results if name in last)
            return f"{run}: {kind} {shown} at step {last['step']:,}"
    return run


def _curves(kinds: Mapping[str, Records]) -> "Figure":
    """Returns a figure with the loss, each metric of evaluations, and the figures of log records."""
    evaluations = [each for kind in EVALUATIONS for each in kinds[kind]]
    metrics = list(dict.fromkeys(name for each in evaluations for name in each if name not in ("kind", "step", "loss")))
    shown = {name: title for name, title in FIGURES.items() if any(name in each for each in kinds["train"])}
    titles = ["loss", *(name.replace("_", " ") for name in metrics), *shown.values()]
    figure, panels = grid(titles, columns=2, size=(11, 2.83 * math.ceil(len(titles) / 2)))
    _draw_losses(panels[0], kinds["step"], kinds)
    for panel, name in zip(panels[1 : 1 + len(metrics)], metrics, strict=True):
        _draw_evaluations(panel, name, kinds)
    for panel, name in zip(panels[1 + len(metrics) :], shown, strict=True):
        line(panel, trend(column(kinds["train"], "step"), column(kinds["train"], name)), COLOURS[3])
        scale(panel)
    scale(panels[0])
    for panel in panels:
        legend(panel)
    _label_steps(panels)
    return figure


def _draw_losses(panel: "Axes", steps: Records, kinds: Mapping[str, Records]) -> None:
    band(panel, trend(column(steps, "step"), column(steps, "loss")), COLOURS[0], label="training")
    _draw_evaluations(panel, "loss", kinds)


def _draw_evaluations(panel: "Axes", name: str, kinds: Mapping[str, Records]) -> None:
    for kind, colour in EVALUATIONS.items():
        if found := [each for each in kinds[kind] if name in each]:
            line(panel, trend(column(found, "step"), column(found, name)), colour, label=kind)


def _label_steps(panels: Sequence["Axes"]) -> None:
    """Labels the axis of the last panel of each column; that of a short column is not in the last row."""
    for panel in panels[-2:]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("step", fontsize=9)


def _of_steps(rows: Records, kinds: Mapping[str, Records], drawn: Measurements) -> "Figure":
    """Returns a figure with the loss, then a panel for each title; several figures in a panel have a legend."""
    titles = ["loss", *dict.fromkeys(str(each.panel) for each in drawn.values())]
    figure, panels = grid(titles, columns=2, size=(11, 2.83 * math.ceil(len(titles) / 2)))
    by_title = dict(zip(titles, panels, strict=False))
    steps = column(rows, "step")
    _draw_losses(panels[0], rows, kinds)
    for name, each in drawn.items():
        panel = by_title[str(each.panel)]
        shares = [other for other, one in drawn.items() if one.panel == each.panel]
        values = column(rows, name)
        found = trend(steps, increase(steps, values) if each.total else values)
        if found.steps.size:
            band(panel, found, COLOURS[shares.index(name)], label=each.label if len(shares) > 1 else None)
            for number, target in enumerate(each.targets):
                goal = each.goal if number == 0 else None
                panel.axhline(target, color=GREY, linestyle="--", linewidth=1, label=goal)
    always_log = {each.panel for each in drawn.values() if each.log_scale}
    for title, panel in by_title.items():
        scale(panel, above=1.0 if title in always_log else STRETCH)
        legend(panel)
    _label_steps(panels)
    return figure


def _of_tensors(rows: Records, drawn: Measurements) -> "Figure":
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for record in rows:
        by_name.setdefault(str(record.get("name")), []).append(record)
    last = list(drawn)[-1]
    chosen = _largest(by_name, last)
    figure, panels = grid([str(each.panel) for each in drawn.values()], columns=1, size=(11, 3 * len(drawn)))
    labels = _short(chosen)
    for panel, (what, measurement) in zip(panels, drawn.items(), strict=True):
        trends = [trend(column(by_name[name], "step"), column(by_name[name], what), TENSOR_POINTS) for name in chosen]
        if len(trends) > 1 and all(np.array_equal(each.middle, trends[0].middle) for each in trends):
            line(panel, trends[0], GREY)
            panel.set_title("one for all tensors", loc="right", fontsize=9, color=GREY)
        else:
            for place, (found, label) in enumerate(zip(trends, labels, strict=True)):
                style = ("-", "--")[place // len(COLOURS)]
                line(panel, found, COLOURS[place % len(COLOURS)], label=label, style=style)
        scale(panel, above=1.0 if measurement.log_scale else STRETCH)
    panels[-1].set_xlabel("step", fontsize=9)
    shown = f"{len(chosen)} of {len(by_name)} tensors:\nthe largest by {drawn[last].label}"
    title = shown if len(chosen) < len(by_name) else None
    handles, names = next((each for panel in panels if (each := panel.get_legend_handles_labels())[0]), ([], []))
    figure.legend(handles, names, loc="outside right upper", fontsize=8, frameon=False, title=title, title_fontsize=8)
    return figure


def _largest(by_name: Mapping[str, Sequence[Mapping[str, Any]]], what: str) -> list[str]:
    """Returns the names of at most TENSORS tensors with the largest peaks of a figure, in the model's order."""

    def peak(name: str) -> float:
        values = column(by_name[name], what)
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
