"""Whole runs of a trainer in the test's own process, and what a tracker is told of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.checkpoints import alone
from tfscale.job.build import Job
from tfscale.supervision.phase import Phase
from tfscale.tracking.base import Kind, Record, RunInfo
from tfscale.training.trainer import Trainer


class Recorder:
    """A tracker that keeps what it is told, and the phases of a run."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float | str]] = []
        self.evaluations: list[dict[str, float | str]] = []
        self.tests: list[dict[str, float | str]] = []
        self.seen: list[int] = []
        self.details_of: list[int] = []
        self.remarks: list[tuple[int, str]] = []
        self.phases: list[tuple[Phase, int]] = []

    def start(self, run: RunInfo) -> None:
        raise AssertionError("whoever makes a tracker starts it")

    def progress(self, step: int) -> None:
        self.seen.append(step)

    def log(self, kind: Kind, step: int, values: Record) -> None:
        if kind is Kind.STEP:
            self.details_of.append(step)
        elif kind is not Kind.TENSOR:
            {Kind.TRAIN: self.steps, Kind.VALIDATION: self.evaluations, Kind.TEST: self.tests}[kind].append(
                {"step": step, **values}
            )

    def message(self, step: int, text: str) -> None:
        self.remarks.append((step, text))

    def summary(self, results: Mapping[str, Any]) -> None:
        raise AssertionError("a trainer returns its results")

    def artifact(self, path: Path) -> None:
        raise AssertionError("a trainer makes no files")

    def finish(self) -> None:
        raise AssertionError("whoever makes a tracker ends it")

    def begun(self, phase: Phase, step: int) -> None:
        self.phases.append((phase, step))


def go(
    job: Job,
    folder: Path,
    stop: Callable[[int, Callable[[int], bool]], Exception | None] = lambda step, is_sync_step: None,
    *,
    keep: int = 9,
) -> tuple[dict, Recorder]:
    """Trains a job to its end, with its checkpoints in a folder; returns its results, and what its tracker was told.

    Args:
        job: What is trained.
        folder: Of the checkpoints.
        stop: See `Trainer`.
        keep: Number of checkpoints.
    """
    memory = Recorder()
    run = Trainer(
        job.state,
        job.plan,
        data=job.data,
        evaluator=job.evaluator,
        checkpoints=alone(folder, keep=keep),
        tracker=memory,
        stop=stop,
        heartbeat=memory.begun,
    )
    return run(), memory
