"""Runs the jobs of a sweep (`-m`) one after the other, each in its own processes.

TensorFlow cannot change its devices in a running process and never returns memory, so jobs do not share a process. A
job that fails is reported, and the sweep continues.
"""

import csv
import fcntl
import io
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tfscale import atomic_file
from tfscale.config.overrides import quoted
from tfscale.launchers.spawn import PARENT
from tfscale.runs import provenance, summary
from tfscale.runs.run_directory import RunDirectory
from tfscale.search.grid import Combination
from tfscale.supervision.signals import Stopped, end, signals_raise
from tfscale.userinfo import without_userinfo

PATIENCE = 15.0
"""Seconds that a job has to end after a signal."""

RESULTS = ("seconds", "wall_seconds", "samples_per_second", "bytes_sent", "bytes_dense", "bytes_ratio")
"""Columns of the sweep's table after overrides, status and metrics.

All but one are keys of summary.json: `seconds` is the time of training and evaluation, `wall_seconds` that of the whole
job, imports included.
"""


TABLE = "summary.csv"
"""Name of the sweep's table in its folder."""

SHOWN = ("seconds", "samples_per_second", "bytes_ratio")
"""Those of RESULTS that the table on the screen has; it has to fit there."""


def run_job(job: Combination, folder: Path, flags: Sequence[str], typed: Sequence[str]) -> dict[str, Any]:
    """Runs one job as a command; its output goes to FOLDER/JOB.log.

    Args:
        job: What it varies.
        folder: Of the sweep.
        flags: Arguments that all jobs have.
        typed: The words of the sweep's command line.

    Returns:
        A row of the sweep's table; results are None if the job failed.
    """
    command = [
        # -P: modules in the folder where the user types must not replace installed ones.
        *(sys.executable, "-P", "-m", "tfscale", "train", *flags, *job.overrides),
        *(f"run.dir={quoted(str(folder))}", f"run.name={job.name}"),
    ]
    began = time.monotonic()
    with (folder / f"{job.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, PARENT: str(os.getpid()), provenance.COMMAND: shlex.join(typed)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait()
        except Stopped as stopped:
            end(process, stopped.number, PATIENCE)
            raise
    return {"job": job.name, **job.varied, **_results(folder / job.name, code, time.monotonic() - began)}


def _results(run: Path, code: int, wall_seconds: float) -> dict[str, Any]:
    """The part of a job's row that tells how it ended: status, metrics and RESULTS."""
    summary = RunDirectory(run, only_read=True).results() if code == 0 else {}
    metrics = {name: summary.get(name) for name in summary.get("metrics", ())}
    status = "done" if code == 0 else f"failed ({code})"
    results = {name: summary.get(name) for name in RESULTS}
    return {"status": status, **metrics, **results, "wall_seconds": round(wall_seconds, 1)}


def last_line(folder: Path, job: Combination) -> str:
    """The last line that a job printed, and the path of its log."""
    log = folder / f"{job.name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'no output'} ({log})"


def run_all(
    jobs: Sequence[Combination],
    folder: Path,
    flags: Sequence[str],
    typed: Sequence[str],
    tell: Callable[[Combination, Mapping[str, Any]], None],
) -> list[dict[str, Any]]:
    """Runs the jobs one after the other; after each job, calls `tell` with its row and rewrites summary.csv.

    Raises:
        Stopped: A signal ended the sweep and the running job.
    """
    rows: list[dict[str, Any]] = []
    with signals_raise():
        for job in jobs:
            rows.append(run_job(job, folder, flags, typed))
            tell(job, rows[-1])
            rows = _aligned(rows)
            _write_csv(folder / TABLE, rows)
    return rows


def update_row(run: Path, code: int, wall_seconds: float) -> None:
    """Rewrites the row of a job that has been resumed, or adds it; does nothing for a run that is no job of a sweep.

    Jobs that are resumed at the same time wait for each other.

    Args:
        run: The run directory.
        code: With which it has ended.
        wall_seconds: That the resumption took; they are added to those of the row.
    """
    path = run.parent / TABLE
    with _locked(run.parent):
        _update_row(path, run, code, wall_seconds)


def _update_row(path: Path, run: Path, code: int, wall_seconds: float) -> None:
    rows = read_table(path)
    if not rows or not {"job", "status"} <= rows[0].keys():
        return
    row = next((each for each in rows if each["job"] == run.name), None)
    if row is None:  # the sweep was ended with this job
        row = {"job": run.name, **_varied(run, list(rows[0]))}
        rows = sorted([*rows, row], key=lambda each: each["job"])
    with suppress(ValueError):
        wall_seconds += float(row.get("wall_seconds") or 0)
    names = list(rows[0])
    row |= {**dict.fromkeys(names[names.index("status") :]), **_results(run, code, wall_seconds)}
    with suppress(OSError):  # the run has ended, whatever becomes of the table
        _write_csv(path, _aligned(rows))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a sweep's folder; a file system without locks for folders has none."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _varied(run: Path, columns: Sequence[str]) -> dict[str, str]:
    """The values of a job by the columns of the table, from the overrides that it was started with."""
    facts = next(iter(provenance.starts(run / "environment.json")), {})
    typed = dict(str(word).split("=", 1) for word in facts.get("overrides", []) if "=" in str(word))
    return {key: typed.get(key, typed.get(f"+{key}", "")) for key in columns[1 : columns.index("status")]}


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a sweep's table, as text; none if there is no readable table."""
    with suppress(OSError, ValueError, csv.Error):
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as stream:
                return [dict(row) for row in csv.DictReader(stream)]
    return []


def best(rows: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Mapping[str, Any], str] | None:
    """The row of the best job that is done, and the metric that says so: the first of the validation
    examples, or of the test examples if there are none, in its better direction.

    None if no job is done, or the metric does not tell whether more is better.
    """
    done = [row for row in rows if row["status"] == "done"]
    summaries = {row["job"]: RunDirectory(folder / row["job"], only_read=True).results() for row in done}
    first = next(iter(summaries.values()), {})
    metric = summary.deciding_metric([*first.get("metrics", ())]) or "loss"
    sign = {"min": -1, "max": 1}.get(first.get("directions", {}).get(metric), 0)
    values = {row["job"]: summaries[row["job"]].get(metric) for row in done}
    compared = [row for row in done if isinstance(values[row["job"]], int | float)]
    if not compared or not sign:
        return None
    return max(compared, key=lambda row: sign * values[row["job"]]), metric


def _aligned(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gives every row the same columns: a failed job has no metrics."""
    fullest = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    return [{name: row.get(name) for name in fullest} for row in rows]


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(without_userinfo(rows))
    atomic_file.replace(path, stream.getvalue())
