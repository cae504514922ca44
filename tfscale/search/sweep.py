"""Runs the jobs of a sweep (`-m`) one after the other, each in its own processes.

TensorFlow cannot change its devices in a running process and never returns memory, so jobs do not share a process. A
job that fails is reported, and the sweep continues.
"""

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfscale import atomic_file
from tfscale.config.overrides import quoted
from tfscale.launchers.spawn import PARENT
from tfscale.search.grid import Combination
from tfscale.supervision.signals import Stopped, end, signals_raise

PATIENCE = 15.0
"""Seconds that a job has to end after a signal."""

RESULTS = ("seconds", "wall_seconds", "samples_per_second", "bytes_sent", "bytes_dense", "bytes_ratio")
"""Columns of the sweep's table after overrides, status and metrics.

All but one are keys of summary.json: `seconds` is the time of training and evaluation, `wall_seconds` that of the whole
job, imports included.
"""


def run_job(job: Combination, folder: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Runs one job as a command; its output goes to FOLDER/JOB.log.

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
            env={**os.environ, PARENT: str(os.getpid())},
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
    summary = _summary(folder / job.name / "summary.json") if code == 0 else {}
    metrics = {name: summary.get(name) for name in summary.get("metrics", ())}
    status = "done" if code == 0 else f"failed ({code})"
    results = {name: summary.get(name) for name in RESULTS}
    results["wall_seconds"] = round(time.monotonic() - began, 1)
    return {"job": job.name, **job.varied, "status": status, **metrics, **results}


def last_line(folder: Path, job: Combination) -> str:
    """The last line that a job printed, and the path of its log."""
    log = folder / f"{job.name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'no output'} ({log})"


def _summary(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def run_all(
    jobs: Sequence[Combination],
    folder: Path,
    flags: Sequence[str],
    tell: Callable[[Combination, Mapping[str, Any]], None],
) -> list[dict[str, Any]]:
    """Runs the jobs one after the other; after each job, calls `tell` with its row and rewrites summary.csv.

    Raises:
        Stopped: A signal ended the sweep and the running job.
    """
    rows: list[dict[str, Any]] = []
    with signals_raise():
        for job in jobs:
            rows.append(run_job(job, folder, flags))
            tell(job, rows[-1])
            rows = _aligned(rows)
            _write_csv(folder / "summary.csv", rows)
    return rows


def _aligned(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gives every row the same columns: a failed job has no metrics."""
    fullest = max(rows, key=len)
    return [{name: row.get(name) for name in fullest} for row in rows]


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    atomic_file.replace(path, stream.getvalue())
