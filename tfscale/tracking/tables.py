"""Tables for a person: the results of a run, the jobs of a sweep, the runs of a folder."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfscale.tracking.base import Measurements


def person_console(*, quiet: bool = False) -> Console:
    """Returns standard output as wide as the terminal, or 160 columns where there is none, so that no line is cut."""
    console = Console(quiet=quiet)
    return console if console.is_terminal else Console(quiet=quiet, width=160)


def human_bytes(count: float) -> str:
    """Formats a number of bytes in powers of 1024: 1536 -> '1.5 KB'."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def closing_table(
    console: Console, summary: Mapping[str, Any], next_commands: Sequence[str], measurements: Measurements
) -> None:
    """Prints the results of a run and the commands to continue with.

    Args:
        console: Where to print.
        summary: The document of summary.json.
        next_commands: One line each.
        measurements: What the strategy measures.
    """
    table = Table(title=f"run {summary['name']}", show_header=False, title_justify="left")
    for name in summary["metrics"]:
        label = f"validation {name.removeprefix('val_')}" if name.startswith("val_") else f"test {name}"
        table.add_row(label, f"{summary[name]:.4f}")
    table.add_row("steps", f"{summary['steps']:,} ({summary['epochs']:g} epochs, {summary['examples']:,} examples)")
    if "ended_early" in summary:
        table.add_row("ended early", escape(summary["ended_early"]))
    table.add_row("time", f"{summary['seconds']:.1f} s ({summary['first_step_seconds']:.1f} s of it the first step)")
    table.add_row("speed", f"{summary['samples_per_second']:,.0f} samples/s")
    table.add_row("replicas", f"{summary['replicas']} in {summary['processes']} process(es)")
    if summary["bytes_dense"]:
        table.add_row("bytes exchanged", _traffic(summary))
    for label, text in _means(summary, measurements):
        table.add_row(label, text)
    if summary.get("skipped_steps"):
        table.add_row("skipped steps", f"{summary['skipped_steps']} (a gradient was not finite)")
    if summary.get("skipped_examples"):
        table.add_row("skipped examples", f"{summary['skipped_examples']:,} (they cannot be read)")
    table.add_row("files", escape(str(summary["directory"])))
    console.print(table, highlight=False)
    for command in next_commands:
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)


def _traffic(summary: Mapping[str, Any]) -> str:
    """Bytes exchanged beside those of an allreduce at every step."""
    sent, dense, ratio = human_bytes(summary["bytes_sent"]), human_bytes(summary["bytes_dense"]), summary["bytes_ratio"]
    if not ratio:
        fewer = "none sent"
    elif ratio == 1:
        fewer = "as many"
    else:
        fewer = f"{ratio:g} times fewer" if ratio > 1 else f"{1 / ratio:.3g} times as many"
    if summary["processes"] == 1:
        return f"none left the process; between processes: {sent}, an allreduce every step: {dense} ({fewer})"
    return f"{sent}; an allreduce every step: {dense} ({fewer})"


def _means(summary: Mapping[str, Any], measurements: Measurements) -> list[tuple[str, str]]:
    """A row for each figure whose mean is a result; times share one row, beside the mean time of a step."""
    means = {name: each for name, each in measurements.items() if each.averaged and f"mean_{name}" in summary}
    rows = [
        (f"mean {each.label}", f"{summary[f'mean_{name}']:.1e}{f' ({each.goal})' if each.goal else ''}")
        for name, each in means.items()
        if each.unit != "ms"
    ]
    times = [f"{each.label} {summary[f'mean_{name}']:.2f} ms" for name, each in means.items() if each.unit == "ms"]
    if "mean_data_seconds" in summary:
        times.insert(0, f"waiting for data {1e3 * summary['mean_data_seconds']:.2f} ms")
    if times:
        rows.append(("mean step", f"{1e3 * summary['mean_seconds']:.1f} ms, of it {', '.join(times)}"))
    return rows


def results_table(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows with the same keys as a table."""
    table = Table(title=escape(title), title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else _cell(value) for value in row.values()))
    console.print(table, highlight=False)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return escape(str(value))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
