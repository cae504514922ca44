"""Tables for a person: the results of a run, the jobs of a sweep, the runs of a folder.

What a person copies is never cut: names stand in tables whose lines only the terminal itself wraps, paths and commands
below a table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
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
    table = Table(show_header=False)
    for name in summary["metrics"]:
        label = f"validation {name.removeprefix('val_')}" if name.startswith("val_") else f"test {name}"
        table.add_row(label, f"{summary[name]:.4f}")
    if summary.get("best_step", -1) >= 0 and summary.get("best") is not None:
        label = f"best validation {summary.get('best_metric', '')}".rstrip()
        table.add_row(label, f"{summary['best']:.4f} at step {summary['best_step']:,}")
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
    print_line(console, f"run {summary['name']}")
    console.print(table, highlight=False)
    for line in (f"files: {summary['directory']}", *next_commands):
        print_line(console, f"  {line}")


def print_line(console: Console, text: str) -> None:
    """Prints a line as it is, however long: a path or a command that a person copies."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


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


def results_table(console: Console, title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows with the same keys as a table: the keys as they are typed, a line a row, numbers to the right."""
    print_line(console, "\n".join([title, *table_lines(rows)]))


def table_lines(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The lines of a table of rows with the same keys, the first with the keys.

    rich breaks or cuts what is wider than the console, and takes a second for a thousand rows.
    """
    columns = [[name, *(_cell(row[name]) for row in rows)] for name in (rows[0] if rows else ())]
    widths = [max(map(cell_len, column)) for column in columns]
    numbers = [all(isinstance(row[name], int | float | None) for row in rows) for name in (rows[0] if rows else ())]
    lines = [
        "  ".join(
            set_cell_size(cell, width) if not number else f"{' ' * (width - cell_len(cell))}{cell}"
            for cell, width, number in zip(cells, widths, numbers, strict=True)
        ).rstrip()
        for cells in zip(*columns, strict=True)
    ]
    return [*lines[:1], "  ".join("─" * width for width in widths), *lines[1:]] if lines else []


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return " ".join(str(value).split())
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
