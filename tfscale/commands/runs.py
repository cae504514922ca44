"""`tfscale runs`: lists runs and jobs of sweeps, with their state, results and the restarts that they needed."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfscale import user_paths
from tfscale.commands import run_query
from tfscale.commands.run_query import Condition
from tfscale.commands.run_rows import RunRow
from tfscale.config import find_run
from tfscale.errors import UserError
from tfscale.tracking.base import finite

COLUMNS = ("run", "state", "step", "result", "processes", "restarts", "seconds_lost")
"""Columns of the table, unless others are asked for."""

WATCHED = ("run", "state", "step", "result", "samples_per_second", "seconds_left", "restarts")
"""Columns of `--watch`."""

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./~ ")
"""Characters of a value that Hydra's grammar takes as they are; importing it takes longer than listing the runs."""


def main(flags: argparse.Namespace) -> int:
    """Prints a table with a row for each run, or JSON, or watches the runs.

    Raises:
        UserError: There are no runs, the folder cannot be read, or no run has a key.
    """
    folder = _folder(flags.words)
    if flags.json and flags.watch:
        raise UserError("--json and --watch exclude each other; leave out one")
    if flags.reverse and flags.sort is None:
        raise UserError("--reverse must come with --sort KEY; type: tfscale runs --help")
    conditions = [run_query.condition(text) for text in flags.where]
    columns = None if flags.columns is None else _columns(flags.columns)
    rows = _rows(folder)
    if not rows:
        raise find_run.no_runs(folder)
    keys = [*(each.key for each in conditions), *([] if flags.sort is None else [flags.sort]), *(columns or ())]
    run_query.require_keys(keys, rows)

    def chosen(rows: Sequence[RunRow]) -> Sequence[RunRow]:
        return _chosen(rows, conditions, flags.sort, reverse=flags.reverse)

    if flags.json:
        documents = [row.all() if columns is None else _values(row, columns) for row in chosen(rows)]
        print("[" + ",\n".join(json.dumps(finite(each)) for each in documents) + "]")
        return 0
    if flags.watch:
        from tfscale.commands.run_watch import watch
        from tfscale.tracking.tables import person_console

        watch(lambda: [_shown(row, columns or WATCHED) for row in chosen(_rows(folder))], person_console())
        return 0
    _print(folder, chosen(rows), columns)
    return 0


def _print(folder: Path, rows: Sequence[RunRow], columns: Sequence[str] | None) -> None:
    """Prints the table, and below it why runs failed: a sentence has no place in a table."""
    from tfscale.tracking.tables import person_console, print_line, results_table

    console = person_console()
    if not rows:
        print_line(console, f"no run in {folder} matches")
        return
    results_table(console, f"runs in {folder}", [_shown(row, columns or COLUMNS) for row in rows])
    failures = [(row.name, row.facts["last_failure"]) for row in rows if row.facts["last_failure"]]
    if failures and columns is None:
        print_line(console, "\n".join(["last failures:", *(f"  {name}: {cause}" for name, cause in failures)]))


def _folder(words: Sequence[str]) -> Path:
    """The folder of all runs."""
    unknown = [word for word in words if not word.startswith("run.dir=")]
    if unknown:
        raise UserError(f"runs takes run.dir=DIR only, got {unknown[0]}; type: tfscale runs --help")
    name = words[-1].partition("=")[2] if words else "runs"
    if not name or not PLAIN.issuperset(name):
        from tfscale.config.overrides import parse, separate

        name = separate(parse(words), ("run.dir",))[0].get("run.dir", "runs")
    return user_paths.expanded(name)


def _columns(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UserError(f"--columns must be keys separated by commas, got {text}; type: --columns state,accuracy")
    return list(dict.fromkeys(["run", *names]))


def _rows(folder: Path) -> list[RunRow]:
    return [RunRow(path, str(path.relative_to(folder))) for path in find_run.all_runs(folder)]


def _chosen(
    rows: Sequence[RunRow], conditions: Sequence[Condition], sort: str | None, *, reverse: bool
) -> Sequence[RunRow]:
    matching = [row for row in rows if all(each.holds(row) for each in conditions)]
    return matching if sort is None else run_query.ordered(matching, sort, reverse=reverse)


def _values(row: RunRow, columns: Sequence[str]) -> dict[str, Any]:
    return {key: row.value(key) for key in columns}


def _shown(row: RunRow, columns: Sequence[str]) -> dict[str, Any]:
    """The values as a person reads them: a run that has not ended shows the steps that it is to have."""
    values = _values(row, columns)
    step, steps = row.facts["step"], row.facts["steps"]
    if "step" in values and step is not None and steps is not None and step != steps:
        values["step"] = f"{step}/{steps}"
    return values
