"""Reads what a run directory holds, whole or damaged: what cannot be read becomes a note on the page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tfscale.config import yaml_limits
from tfscale.config.find_run import FILE
from tfscale.config.moved_targets import completed, renamed
from tfscale.errors import UserError
from tfscale.report.columns import Columns
from tfscale.runs.events import read_events
from tfscale.runs.run_directory import RunDirectory
from tfscale.runs.state import state_of
from tfscale.supervision import heartbeat
from tfscale.tracking.records import records
from tfscale.userinfo import without_userinfo

KINDS = ("step", "train", "validation", "test")
"""Kinds of records that a page shows; those of tensors are in tensors.png."""

LARGEST = 8 << 20
"""Bytes of a JSON document, at most; metrics.jsonl may have any length."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that a page shows of a run.

    Attributes:
        name: As the user names it: NAME, or SWEEP/job-001.
        path: Its run directory.
        state: training, done, stopped, failed or ended early.
        step: Optimizer steps completed; None if unknown.
        config: Saved configuration, nested.
        summary: Results of a run that has ended well.
        environment: Versions, machine, and whatever else the run noted.
        evaluation: What `tfscale evaluate` has measured.
        figures: Descriptions of the strategy's figures.
        events: Starts and ends of its processes.
        records: Kind -> columns of metrics.jsonl.
        remarks: (step, sentence) of what changed during the run.
        notes: Sentences about what could not be read.
    """

    name: str
    path: Path
    state: str
    step: int | None
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    environment: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    figures: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    records: Mapping[str, Columns]
    remarks: Sequence[tuple[int, str]] = ()
    notes: Sequence[str] = field(default_factory=list)


def read_run(path: Path, name: str) -> Run:
    """Reads a run directory.

    Args:
        path: A folder with config.yaml.
        name: Of the run, on the page.
    """
    directory, notes = RunDirectory(path, only_read=True), list[str]()
    documents = {
        key: _document(file, notes)
        for key, file in {
            "summary": directory.summary,
            "environment": directory.environment,
            "evaluation": path / "evaluation.json",
            "figures": directory.figures,
        }.items()
    }
    events = read_events(directory.events)
    columns, remarks = _records(directory.metrics, notes)
    steps = columns["step"].column("step")
    return Run(
        name=name,
        path=path,
        state=state_of(directory, events, trains=directory.is_locked()),
        step=_step(directory, documents["summary"], int(steps[-1]) if len(steps) else None),
        config=_config(path / FILE, notes),
        events=events,
        records=columns,
        remarks=remarks,
        notes=notes,
        **documents,
    )


def _document(path: Path, notes: list[str]) -> Mapping[str, Any]:
    """Returns a JSON object; empty without a file, or with a note if it cannot be read."""
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too long")
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("it is not an object")
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{path.name} cannot be read: {str(error)[:200]}")
        return {}
    return without_userinfo(document)


def _config(path: Path, notes: list[str]) -> Mapping[str, Any]:
    try:
        document = yaml.load(yaml_limits.check(path), Loader=yaml_limits.LOADER)
        if not isinstance(document, dict):
            raise UserError("it holds no keys")
        return without_userinfo(completed(renamed(document)[0]))
    except (UserError, yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        notes.append(f"{path.name} cannot be read: {str(error)[:200]}")
        return {}


def _records(path: Path, notes: list[str]) -> tuple[Mapping[str, Columns], Sequence[tuple[int, str]]]:
    found = {kind: Columns() for kind in KINDS}
    remarks, damaged = list[tuple[int, str]](), list[int]()
    try:
        if path.is_file():
            for record in records(path, damaged):
                kind = record.get("kind")
                if isinstance(kind, str) and kind in found:
                    found[kind].add(record)
                elif kind == "remark":
                    remarks.append((int(record["step"]), str(record.get("words"))))
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror}")
    if damaged:
        notes.append(f"{len(damaged):,} line(s) of {path.name} are damaged and left out")
    return found, remarks


def _step(directory: RunDirectory, summary: Mapping[str, Any], recorded: int | None) -> int | None:
    """Returns the steps completed: by the summary, the heartbeats of all ranks, or the last record."""
    if isinstance(summary.get("steps"), int):
        return summary["steps"]
    completed = heartbeat.steps_of(directory.logs)
    return recorded if completed is None else completed
