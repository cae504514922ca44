"""`tfscale runs`: lists runs and jobs of sweeps, with their state and the restarts that they needed."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from tfscale import user_paths
from tfscale.config import find_run
from tfscale.config.overrides import parse, separate
from tfscale.errors import UserError
from tfscale.runs.events import read_events
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision import heartbeat

STOPPED = (129, 130, 143)
"""Exit codes of a run that a signal stopped."""


def main(flags: argparse.Namespace) -> int:
    """Prints a table with a row for each run.

    Raises:
        UserError: There are no runs, or the folder cannot be read.
    """
    unknown = [word for word in flags.words if not word.startswith("run.dir=")]
    if unknown:
        raise UserError(f"runs takes run.dir=DIR only, got {unknown[0]}; type: tfscale runs --help")
    given, _ = separate(parse(flags.words), ("run.dir",))
    folder = user_paths.expanded(given.get("run.dir", "runs"))
    from tfscale.tracking.tables import person_console, results_table

    paths = find_run.all_runs(folder)
    if not paths:
        raise find_run.no_runs(folder)
    rows = [_row(RunDirectory(path, only_read=True), str(path.relative_to(folder))) for path in paths]
    results_table(person_console(), f"runs in {folder}", rows)
    return 0


def _row(directory: RunDirectory, name: str) -> dict[str, Any]:
    events = read_events(directory.events)
    starts = [event for event in events if event["event"] == "start"]
    last = next((event for event in reversed(events) if event["event"] == "end"), {})
    results = directory.results()
    trains = directory.is_locked()
    metrics = results.get("metrics")
    metric = metrics[0] if isinstance(metrics, list) and metrics and isinstance(metrics[0], str) else None
    return {
        "run": name,
        "state": _state(trains, directory, last),
        "step": _step(directory) if trains or not results else results.get("steps"),
        "result": "" if metric is None else f"{metric} {results.get(metric)}",
        "processes": len(starts[-1].get("processes", [])) if starts else results.get("processes", ""),
        "restarts": sum(1 for event in starts if event.get("restarts")),
        "seconds lost": round(sum(event.get("seconds_lost", 0) for event in events), 1),
        "last failure": _last_failure(events),
    }


def _state(trains: bool, directory: RunDirectory, last: Mapping[str, Any]) -> str:
    if trains:
        return "training"
    done = directory.summary.exists()
    if done and directory.summary.stat().st_mtime > last.get("when", 0.0):  # continued since, under another launcher
        return "done"
    if last.get("code") in STOPPED:
        return "stopped"
    if last.get("code"):
        return "failed"
    return "done" if done else "ended early"


def _last_failure(events: Sequence[Mapping[str, Any]]) -> str:
    """The cause of the last end of the processes before the end of the run; empty if there was none."""
    causes = [event["cause"] for event in events if event["event"] == "end" and event.get("cause")]
    return str(causes[-1]).split(". Its log", 1)[0].split("; go on", 1)[0] if causes else ""


def _step(directory: RunDirectory) -> int | None:
    """Steps that all ranks have completed, by their heartbeats."""
    heartbeats = [heartbeat.read(path) for path in directory.logs.glob("rank-*.heartbeat")]
    return min((each.step for each in heartbeats if each is not None), default=None)
