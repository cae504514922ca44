"""Panels of curves: figures over the steps, of one run or of several, as plain lists for the page's JSON.

A panel has one figure of several runs, or the figures that belong together of one run. Steps of a long run are medians
of windows, as in `runs.plots`; the band from the 10th to the 90th percentile is shown where a panel has one run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfscale.report.columns import Columns
from tfscale.report.read import Run
from tfscale.runs.panels import STRETCH
from tfscale.runs.trends import Trend, increase, trend

COLOURS = 8
"""Colours of lines in page.css; further lines are dashed."""

NO_FIGURES = ("loss", "seconds", "data_seconds", "skipped_steps")
"""Columns of step records that are no figures of the strategy: they have panels of their own, or none."""

CLOCK_POINTS = 200
"""Points from which the page interpolates the training time at a step."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a panel.

    Attributes:
        label: In the legend.
        run: Index of its run.
        trend: Its points.
        has_band: Whether the percentiles are drawn.
    """

    label: str
    run: int
    trend: Trend
    has_band: bool = False

    def document(self, place: int) -> dict[str, Any]:
        """The line as plain lists; `place` chooses its colour and dashes."""
        has_band = self.has_band and not np.array_equal(self.trend.low, self.trend.high)
        return {
            "label": self.label,
            "run": self.run,
            "x": [int(step) for step in self.trend.steps],
            "y": _rounded(self.trend.middle),
            "low": _rounded(self.trend.low) if has_band else None,
            "high": _rounded(self.trend.high) if has_band else None,
            "color": place % COLOURS + 1,
            "dash": place // COLOURS,
        }


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart.

    Attributes:
        title: Above it.
        lines: Of it, in the order of the legend.
        unit: Of the values; empty for none.
        log_scale: Whether the axis is logarithmic; None to decide by the values.
        is_compared: Whether a line's colour stands for its run, in all panels.
    """

    title: str
    lines: Sequence[Line]
    unit: str = ""
    log_scale: bool | None = None
    is_compared: bool = False

    def document(self) -> dict[str, Any]:
        """The panel for the page's JSON."""
        return {
            "title": self.title,
            "unit": self.unit,
            "log": _differs_much(self.lines) if self.log_scale is None else self.log_scale,
            "lines": [line.document(line.run if self.is_compared else place) for place, line in enumerate(self.lines)],
        }


def panels_of_run(run: Run, points: int) -> list[Panel]:
    """Returns the panels of one run: loss, metrics, learning rate, speed, time, then the strategy's figures."""
    steps = run.records["step"]
    found = [Panel(title="loss", lines=[*_losses(run, points)])]
    found += [
        Panel(title=_spoken(name), lines=[*_evaluated(run, name, points)], log_scale=False) for name in _metrics([run])
    ]
    found += [*_logged(run, points)]
    times = {"whole step": "seconds", "waiting for data": "data_seconds"}
    found.append(
        Panel(
            title="time of a step",
            unit="ms",
            lines=[
                Line(label=label, run=0, trend=_of(steps, name, points, factor=1e3), has_band=name == "seconds")
                for label, name in times.items()
            ],
        )
    )
    found += [*_of_strategy(run, points)]
    return _filled(found)


def panels_of_runs(runs: Sequence[Run], points: int) -> list[Panel]:
    """Returns the panels of several runs: one figure each, a line for each run."""

    def compared(
        title: str, kind: str, name: str, unit: str = "", factor: float = 1.0, log: bool | None = None
    ) -> Panel:
        lines = [
            Line(label=run.name, run=index, trend=_of(run.records[kind], name, points, factor=factor))
            for index, run in enumerate(runs)
        ]
        return Panel(title=title, lines=lines, unit=unit, log_scale=log, is_compared=True)

    found = [compared("training loss", "step", "loss"), compared("validation loss", "validation", "loss")]
    found += [compared(f"validation {_spoken(name)}", "validation", name, log=False) for name in _metrics(runs)]
    found += [
        compared("learning rate", "train", "learning_rate"),
        compared("speed since the start", "train", "samples_per_second", "samples/s", log=False),
        compared("time of a step", "step", "seconds", "ms", 1e3),
        compared("waiting for data in a step", "step", "data_seconds", "ms", 1e3),
    ]
    for name in dict.fromkeys(name for run in runs for name in _strategy_figures(run)):
        lines = [
            Line(label=run.name, run=index, trend=_figure(run, name, points))
            for index, run in enumerate(runs)
            if name in run.records["step"].names()
        ]
        facts = next((facts for run in runs if (facts := _facts(run, name))), {})
        title = f"{facts.get('label', _spoken(name))}{' in a step' if facts.get('total') else ''}"
        log = True if facts.get("log_scale") else None
        unit = str(facts.get("unit", ""))
        found.append(Panel(title=title, lines=lines, unit=unit, log_scale=log, is_compared=True))
    return _filled(found)


def clock_of(run: Run) -> Mapping[str, Any]:
    """Returns what turns the steps of a run into examples and seconds of training, for the page's JSON."""
    steps, seconds = run.records["step"].column("step"), run.records["step"].column("seconds")
    total = np.nancumsum(seconds)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(CLOCK_POINTS, len(steps))).astype(int))
    return {
        "examples": global_batch(run),
        "steps": [0, *(int(step) for step in steps[chosen])],
        "seconds": [0.0, *(_rounded(total[chosen]))],
    }


def global_batch(run: Run) -> int | None:
    """Returns the examples of one step of all replicas; None if the settings do not tell."""
    if isinstance(run.summary.get("global_batch"), int):
        return run.summary["global_batch"]
    nodes = (run.config.get("train"), run.config.get("strategy"))
    batch, replicas = (
        node.get(key) if isinstance(node, dict) else None
        for node, key in zip(nodes, ("batch", "replicas"), strict=True)
    )
    return batch * replicas if isinstance(batch, int) and isinstance(replicas, int) else None


def is_shortened(run: Run, points: int) -> bool:
    """Returns whether curves show medians of several steps."""
    return len(run.records["step"]) > points


def _losses(run: Run, points: int) -> Iterator[Line]:
    yield Line(label="training", run=0, trend=_of(run.records["step"], "loss", points), has_band=True)
    averaged = _of(run.records["train"], "loss_after_averaging", points)
    yield Line(label="training, after averaging", run=0, trend=averaged)
    yield from _evaluated(run, "loss", points)


def _evaluated(run: Run, name: str, points: int) -> Iterator[Line]:
    for kind in ("validation", "test"):
        yield Line(label=kind, run=0, trend=_of(run.records[kind], name, points))


def _logged(run: Run, points: int) -> Iterator[Panel]:
    for name, title, unit in (
        ("learning_rate", "learning rate", ""),
        ("samples_per_second", "speed since the start", "samples/s"),
        ("loss_scale", "loss scale", ""),
    ):
        line = Line(label=title, run=0, trend=_of(run.records["train"], name, points))
        yield Panel(title=title, lines=[line], unit=unit, log_scale=False if unit else None)


def _of_strategy(run: Run, points: int) -> Iterator[Panel]:
    by_title: dict[str, list[str]] = {}
    for name in _strategy_figures(run):
        by_title.setdefault(str(_facts(run, name).get("panel") or _spoken(name)), []).append(name)
    for title, names in by_title.items():
        facts = [_facts(run, name) for name in names]
        lines = [
            Line(
                label=str(each.get("label", _spoken(name))),
                run=0,
                trend=_figure(run, name, points),
                has_band=len(names) == 1,
            )
            for name, each in zip(names, facts, strict=True)
        ]
        log = True if any(each.get("log_scale") for each in facts) else None
        yield Panel(title=title, lines=lines, unit=str(facts[0].get("unit", "")), log_scale=log)


def _figure(run: Run, name: str, points: int) -> Trend:
    steps, values = run.records["step"].column("step"), run.records["step"].column(name)
    return trend(steps, increase(steps, values) if _facts(run, name).get("total") else values, points)


def _facts(run: Run, name: str) -> Mapping[str, Any]:
    """Returns the description of a figure; an earlier run has none, and totals are known by their name."""
    facts = run.figures.get(name)
    if isinstance(facts, dict):
        return facts
    if name == "bytes_sent":
        return {"total": True, "unit": "B"}
    return {"unit": "ms"} if name.endswith("_ms") else {}


def _strategy_figures(run: Run) -> list[str]:
    """Returns the figures of step records that the strategy measures, in the order of its description."""
    recorded = [name for name in run.records["step"].names() if name not in NO_FIGURES]
    return sorted(recorded, key=lambda name: [*run.figures].index(name) if name in run.figures else len(run.figures))


def _metrics(runs: Sequence[Run]) -> list[str]:
    names = (name for run in runs for kind in ("validation", "test") for name in run.records[kind].names())
    return [name for name in dict.fromkeys(names) if name != "loss"]


def _of(columns: Columns, name: str, points: int, factor: float = 1.0) -> Trend:
    return trend(columns.column("step"), columns.column(name) * factor, points)


def _filled(panels: Sequence[Panel]) -> list[Panel]:
    """Returns the panels that have something to show, without empty lines: a single value is no curve."""
    kept = []
    for panel in panels:
        lines = [line for line in panel.lines if line.trend.steps.size]
        if any(line.trend.steps.size > 1 for line in lines):
            kept.append(replace(panel, lines=lines))
    return kept


def _differs_much(lines: Sequence[Line]) -> bool:
    """Returns whether the positive values differ by a factor of more than STRETCH."""
    values = np.concatenate([line.trend.middle[line.trend.middle > 0] for line in lines])
    return bool(values.size and values.max() > STRETCH * values.min())


def _rounded(values: np.ndarray) -> list[float | None]:
    """Returns the values with 5 digits, null for what is not finite."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values.tolist()]


def _spoken(name: str) -> str:
    return name.replace("_", " ")
