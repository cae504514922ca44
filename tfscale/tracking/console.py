"""Progress for a person: a bar on a terminal, plain lines elsewhere.

The bar shows every evaluation; `evaluation_lines` decides which of them get a line, too.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from tfscale.tracking.base import Kind, Record, RunInfo
from tfscale.tracking.evaluation_lines import EvaluationLines
from tfscale.tracking.tables import human_bytes

BAR = 20
"""Columns of the bar: at 80 columns an evaluation fits beside it."""

SLOW_DATA = 0.1
"""Share of the time of steps, waiting for data, from which a line says so."""


@final
class ConsoleTracker:
    """Shows the progress of one run.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._run: RunInfo | None = None
        self._lines: EvaluationLines | None = None
        self._unreported: tuple[int, str] | None = None  # the last evaluation, as long as it has no line

    def start(self, run: RunInfo) -> None:
        """Shows a bar on a terminal that can redraw a line."""
        self._run = run
        redraws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._lines = EvaluationLines(run, only_best=redraws)
        if redraws:
            bar = self._bar = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=BAR),
                TimeRemainingColumn(),
                # Takes what is left of the line and is cut there; the other columns would share the cut with it.
                TextColumn(
                    "{task.fields[evaluation]}{task.fields[words]}",
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                console=self._console,
                expand=True,
            )
            self._task = bar.add_task("train", total=run.steps, completed=run.start, evaluation="", words="")
            bar.start()

    def progress(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Shows training records (loss, samples a second, the strategy's figures) and evaluations."""
        if kind in (Kind.VALIDATION, Kind.TEST):
            text = f"{kind.value}: {'  '.join(f'{name} {value:.4f}' for name, value in values.items())}"
            if kind is Kind.VALIDATION:
                self._validated(step, values, text)
            else:
                self._report_last_evaluation()
                self._line(step, text)
        elif kind is Kind.TRAIN:
            text = "  ".join(self._figures(values))
            if self._bar is not None:
                self._bar.update(self._task, words=text)
            else:
                self._line(step, text)

    def _validated(self, step: int, values: Record, text: str) -> None:
        """Shows an evaluation on the validation examples in the bar, and as a line if it is due."""
        if self._lines is None or self._lines.is_due(step, values):
            self._unreported = None
            self._line(step, text)
        else:
            self._unreported = (step, text)
        monitored = None if self._run is None else self._run.monitored
        if self._bar is None or self._lines is None or monitored is None or monitored.name not in values:
            return
        shown = f"{monitored.name} {values[monitored.name]:.4f}"
        best = "" if math.isnan(self._lines.best) else f" (best {self._lines.best:.4f})"
        self._bar.update(self._task, evaluation=f"{shown}{best}  ")

    def _report_last_evaluation(self) -> None:
        """Prints the line of the last evaluation, unless it has been printed."""
        if self._unreported is not None:
            self._line(*self._unreported)
            self._unreported = None

    def _figures(self, values: Record) -> list[str]:
        """Parts of the line of a training record."""
        parts = [f"loss {values['loss']:.4f}", f"{values['samples_per_second']:,.0f} samples/s"]
        if values.get("data_share", 0) >= SLOW_DATA:
            parts.append(f"{values['data_share']:.0%} waiting for data")
        measurements = {} if self._run is None else self._run.measurements
        parts += [
            each.line.format(values[name])
            for name, each in measurements.items()
            if each.line is not None and name in values
        ]
        if values.get("bytes_sent") and self._run is not None and self._run.processes > 1:
            parts.append(f"{human_bytes(float(values['bytes_sent']))} sent")
        return parts

    def message(self, step: int, text: str) -> None:
        """Prints it."""
        self._line(step, text)

    def summary(self, results: Mapping[str, Any]) -> None:
        """Does nothing: the closing table is printed by whoever ends the run."""

    def artifact(self, path: Path) -> None:
        """Does nothing."""

    def _line(self, step: int, text: str) -> None:
        steps = 0 if self._run is None else self._run.steps
        self._console.print(f"step {step:>{len(str(steps))}}/{steps}  {text}", highlight=False)

    def finish(self) -> None:
        """Takes the bar away; the last evaluation has a line, however the run ended."""
        self._report_last_evaluation()
        if self._bar is not None:
            self._bar.stop()
