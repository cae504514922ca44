"""State of a run, as `tfscale runs` and reports name it: training, done, stopped, failed or ended early."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfscale.runs.run_directory import RunDirectory

STOPPED = (129, 130, 143)
"""Exit codes of a run that a signal stopped."""


def state_of(directory: RunDirectory, events: Sequence[Mapping[str, Any]], *, trains: bool) -> str:
    """Returns the state of a run.

    Args:
        directory: Of the run.
        events: Its starts and ends, oldest first.
        trains: Whether a process trains it now.
    """
    if trains:
        return "training"
    last = next((event for event in reversed(events) if event["event"] == "end"), {})
    done = bool(directory.results())
    if done and directory.summary.stat().st_mtime > last.get("when", 0.0):  # continued since, under another launcher
        return "done"
    if last.get("code") in STOPPED:
        return "stopped"
    if last.get("code"):
        return "failed"
    return "done" if done else "ended early"
