"""The page's view of several runs: a sortable table with the settings that differ, and parallel coordinates."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tfscale.report import drawing, results, settings
from tfscale.report.events import restarts
from tfscale.report.read import Run
from tfscale.runs.summary import deciding_metric
from tfscale.tracking.tables import human_bytes

WIDTH = 190.0
"""Units between two axes of the parallel coordinates."""

HEIGHT = 260.0

SHADES = 6
"""Colours of strokes, from the worst result to the best."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: As shown.
        order: As sorted: a number, or the text in lower case.
        is_number: Whether it is aligned as a number.
    """

    text: str
    order: str
    is_number: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in the table.

    Attributes:
        name: Of the run.
        state: Of the run, or the status of a job that has left no run.
        color: Number of its colour in the curves; None if it has none there.
        cells: Of the other columns.
        is_best: Whether it has the best result.
    """

    name: str
    state: str
    color: int | None
    cells: Sequence[Cell]
    is_best: bool


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """A run in the parallel coordinates: its index in the table, its path, and its shade from 0, the worst."""

    row: int
    path: str
    shade: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of several runs, for the template.

    Attributes:
        title: Names of the runs, or of their sweep.
        is_sweep: Whether they are the jobs of a sweep.
        metric: The result that they are compared by; None if no run has one.
        better: Its better direction, min or max.
        best: Name of the best run.
        columns: (name, whether it has numbers only) of the table, after name and state.
        keys: Columns that are settings.
        rows: One for each run.
        drawn: Indices of the runs in the order of their curves: the best first.
        axes: Of the parallel coordinates; none for fewer than two.
        strokes: Of the runs that have ended.
        notes: What could not be read.
    """

    title: str
    is_sweep: bool
    metric: str | None
    better: str
    best: str | None
    columns: Sequence[tuple[str, bool]]
    keys: Sequence[str]
    rows: Sequence[Row]
    drawn: Sequence[int]
    axes: Sequence[drawing.Axis]
    strokes: Sequence[Stroke]
    notes: Sequence[str]


def comparison(runs: Sequence[Run], *, sweep: Path | None) -> Comparison:
    """Returns the view of several runs.

    Args:
        runs: In the order of the table.
        sweep: The folder of their sweep; None if they are no sweep.
    """
    found = [results.metrics(run) for run in runs]
    names = list(dict.fromkeys(name for each in found for name in each))
    metric = deciding_metric(names)
    better = "max" if metric is None else results.direction(runs, metric)
    best = None if metric is None else results.best(runs, metric)
    differing = settings.differing(runs)
    drawn = _drawn(runs, metric, better)
    figures = _used([_figures(run) for run in runs])
    columns = [*differing, *(_heading(name) for name in names), *figures[0]]
    rows = [
        Row(
            name=run.name,
            state=run.state,
            color=drawn.index(index) if index in drawn else None,
            cells=[
                *(_cell(values[index]) for values in differing.values()),
                *(_result(found[index].get(name)) for name in names),
                *figures[index].values(),
            ],
            is_best=index == best,
        )
        for index, run in enumerate(runs)
    ]
    results_of = [None if metric is None else each.get(metric) for each in found]
    axes = _axes(differing, metric, results_of)
    return Comparison(
        title=f"sweep {sweep.name}" if sweep is not None else f"Comparison of {len(runs)} runs",
        is_sweep=sweep is not None,
        metric=metric,
        better=better,
        best=None if best is None else runs[best].name,
        columns=[(name, all(row.cells[place].is_number for row in rows)) for place, name in enumerate(columns)],
        keys=list(differing),
        rows=[*rows, *_without_directory(sweep, runs, list(differing), len(columns))],
        drawn=drawn,
        axes=axes,
        strokes=_strokes(axes, results_of, better),
        notes=[f"{run.name}: {note}" for run in runs for note in run.notes],
    )


def _heading(metric: str) -> str:
    return results.spoken(metric).removeprefix("test ")


def _drawn(runs: Sequence[Run], metric: str | None, better: str) -> list[int]:
    """Returns the runs with records of steps, the best result first, in the order of the table where equal."""

    def rank(index: int) -> tuple[bool, float]:
        value = None if metric is None else results.metrics(runs[index]).get(metric)
        return value is None, 0.0 if value is None else value if better == "min" else -value

    return sorted((index for index, run in enumerate(runs) if len(run.records["step"])), key=rank)


def _figures(run: Run) -> dict[str, Cell]:
    summary = run.summary
    speed, seconds = (results.number(summary.get(key)) for key in ("samples_per_second", "training_seconds"))
    sent = results.number(summary.get("bytes_sent")) if results.number(summary.get("bytes_dense")) else None
    steps = "" if run.step is None else f"{run.step:,}"
    return {
        "steps": Cell(text=steps, order=str(run.step or ""), is_number=True),
        "training time": Cell(text=results.duration(seconds), order=_order(seconds), is_number=True),
        "samples/s": _result(speed),
        "bytes sent": Cell(text="" if sent is None else human_bytes(sent), order=_order(sent), is_number=True),
        "restarts": Cell(text=str(restarts(run)), order=str(restarts(run)), is_number=True),
    }


def _used(figures: Sequence[dict[str, Cell]]) -> list[dict[str, Cell]]:
    """Returns the figures without those that no run has, or that are zero in all."""
    used = {name for each in figures for name, cell in each.items() if cell.text not in ("", "0")}
    return [{name: cell for name, cell in each.items() if name in used} for each in figures]


def _cell(value: str) -> Cell:
    try:
        return Cell(text=value, order=_order(float(value)), is_number=True)
    except ValueError:
        return Cell(text=value, order=value.lower(), is_number=False)


def _result(value: float | None) -> Cell:
    return Cell(text=results.short(value), order=_order(value), is_number=True)


def _order(value: float | None) -> str:
    return "" if value is None else repr(value)


def _axes(differing: dict[str, list[str]], metric: str | None, found: Sequence[float | None]) -> list[drawing.Axis]:
    if metric is None or not differing or len(found) < 3:
        return []
    result = ["" if value is None else repr(value) for value in found]
    if not any(result):
        return []
    return [*(drawing.axis(key, values) for key, values in differing.items()), drawing.axis(_heading(metric), result)]


def _strokes(axes: Sequence[drawing.Axis], found: Sequence[float | None], better: str) -> list[Stroke]:
    """Returns the strokes of the runs with a result, the worst first, so that the best is on top."""
    if not axes:
        return []
    paths = drawing.strokes(axes, WIDTH * (len(axes) - 1), HEIGHT)
    kept = [(value, index) for index, value in enumerate(found) if value is not None]
    kept.sort(reverse=better == "min")
    last = max(1, len(kept) - 1)
    return [
        Stroke(row=index, path=paths[index], shade=round((SHADES - 1) * place / last))
        for place, (_, index) in enumerate(kept)
    ]


def _without_directory(sweep: Path | None, runs: Sequence[Run], keys: Sequence[str], columns: int) -> list[Row]:
    """Returns rows of the jobs that failed before they had a run directory, by the sweep's summary.csv."""
    known = {run.path.name for run in runs}
    rows = []
    with suppress(OSError, csv.Error, ValueError):
        if sweep is None or not (sweep / "summary.csv").is_file():
            return []
        with (sweep / "summary.csv").open(newline="", encoding="utf-8", errors="replace") as stream:
            for record in csv.DictReader(stream):
                name = record.get("job")
                if name and name not in known:
                    cells = [_cell(str(record.get(key) or "")) for key in keys]
                    cells += [_cell("")] * (columns - len(cells))
                    state = str(record.get("status") or "failed")
                    rows.append(Row(name=f"{sweep.name}/{name}", state=state, color=None, cells=cells, is_best=False))
    return rows
