"""What a person sees: a progress bar on a terminal, plain lines elsewhere, a table at the end."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tfscale.tracking.base import Record


def person_console(*, quiet: bool = False) -> Console:
    """Standard output for a person: as wide as the terminal, and wide where there is none, so that no line is cut."""
    console = Console(quiet=quiet)
    return console if console.is_terminal else Console(quiet=quiet, width=160)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def human_bytes(count: float) -> str:
    """1536 -> '1.5 KB'; powers of 1024."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


@final
class ConsoleTracker:
    """Progress of one run.

    Args:
        console: Where to print.
        steps: Of the whole run.
        start: Steps already completed, when resumed.
    """

    def __init__(self, console: Console, *, steps: int, start: int) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._step_width = len(str(steps))
        self._steps = steps
        if console.is_terminal and not console.is_dumb_terminal:  # rich shows no bar on TERM=dumb
            self._bar = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[words]}"),
                console=console,
            )
            self._task = self._bar.add_task("train", total=steps, completed=start, words="")
            self._bar.start()

    def progress(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def step(self, record: Record) -> None:
        """Shows loss, samples a second, and density and bytes where they exist."""
        words = [f"loss {record['loss']:.4f}", f"{record['samples_per_second']:,.0f} samples/s"]
        if "density" in record:
            words.append(f"density {record['density']:.2e}")
        if record.get("bytes_sent"):
            words.append(f"{human_bytes(record['bytes_sent'])} sent")
        if self._bar is not None:
            self._bar.update(self._task, words="  ".join(words))
        else:
            self._line(int(record["step"]), "  ".join(words))

    def details(self, steps: Sequence[Record], tensors: Mapping[str, Record]) -> None:
        """Nothing."""

    def remark(self, step: int, words: str) -> None:
        """Prints it."""
        self._line(step, words)

    def evaluation(self, record: Record) -> None:
        """Prints loss and metrics on the test data."""
        words = "  ".join(f"{name} {value:.4f}" for name, value in record.items() if name != "step")
        self._line(int(record["step"]), f"test: {words}")

    def _line(self, step: int, words: str) -> None:
        self._console.print(f"step {step:>{self._step_width}}/{self._steps}  {words}", highlight=False)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()


def closing_table(console: Console, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
    """Prints result, time, bytes against dense, where the run lies, and the commands to go on with."""
    table = Table(title=f"run {summary['name']}", show_header=False, title_justify="left")
    for name in summary["metrics"]:
        table.add_row(f"test {name}", f"{summary[name]:.4f}")
    table.add_row("steps", f"{summary['steps']:,} ({summary['epochs']:g} epochs, {summary['examples']:,} examples)")
    if "ended_early" in summary:
        table.add_row("ended early", escape(summary["ended_early"]))
    table.add_row("time", f"{summary['seconds']:.1f} s ({summary['first_step_seconds']:.1f} s of it the first step)")
    table.add_row("speed", f"{summary['samples_per_second']:,.0f} samples/s")
    table.add_row("replicas", f"{summary['replicas']} in {summary['processes']} process(es)")
    if summary["bytes_dense"]:
        sent, dense = human_bytes(summary["bytes_sent"]), human_bytes(summary["bytes_dense"])
        ratio = f"{summary['bytes_ratio']:g} times fewer" if summary["bytes_ratio"] else "none sent"
        table.add_row("bytes exchanged", f"{sent}; an allreduce every step: {dense} ({ratio})")
    if "mean_encode_ms" in summary:
        table.add_row("sharing", _costs(summary))
    if summary.get("skipped_steps"):
        table.add_row("skipped steps", f"{summary['skipped_steps']} (a gradient was not finite)")
    table.add_row("files", escape(str(summary["directory"])))
    console.print(table, highlight=False)
    for command in next_commands:
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)


def _costs(summary: Mapping[str, Any]) -> str:
    """What compression has cost of a step, and how much it sent."""
    phases = {"encode": "encoding", "exchange": "exchanging", "decode": "decoding"}
    parts = [f"{summary[f'mean_{phase}_ms']:.2f} ms {words}" for phase, words in phases.items()]
    whole = 1e3 * summary["mean_seconds"]
    return f"density {summary['mean_density']:.1e}; of a step of {whole:.1f} ms, {', '.join(parts)}"


def results_table(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows with the same keys as a table."""
    table = Table(title=escape(title), title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else _cell(value) for value in row.values()))
    console.print(table, highlight=False)


def _cell(value: object) -> str:
    return _short(value) if isinstance(value, float) else escape(str(value))
