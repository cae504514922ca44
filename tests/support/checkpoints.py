"""Checkpoints of jobs in the test's own process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfscale.checkpoint.format import DamagedError
from tfscale.checkpoint.staging import StagingBuffer
from tfscale.job.build import Job
from tfscale.training.checkpoints import Checkpoints


def everything(job: Job) -> dict[str, np.ndarray]:
    """All that must survive, by name."""
    state = {f"shared/{name}": value for name, value in job.state.shared_arrays().items()}
    for index in range(len(job.state.replicas)):
        state |= {f"{index}/{name}": value for name, value in job.state.replica_arrays(index).items()}
    return state


def no_damage(place: Path, error: DamagedError) -> None:
    raise AssertionError(f"{place}: {error}")


def no_warning(words: str) -> None:
    raise AssertionError(words)


def alone(
    folder: Path,
    *,
    keep: int = 2,
    process: int = 0,
    memory: StagingBuffer | None = None,
    warn: Callable[[str], None] = no_warning,
) -> Checkpoints:
    """The checkpoints of a run of one process, or of one that is not the chief."""
    return Checkpoints(
        folder,
        keep=keep,
        process=process,
        processes=1,
        attempt="a",
        identity={"cpu": "x"},
        memory=memory or StagingBuffer(),
        warn=warn,
    )


def saved(job: Job, folder: Path, *, keep: int = 2) -> Checkpoints:
    """Checkpoints, one of the job's state among them."""
    checkpoints = alone(folder, keep=keep)
    checkpoints.save(job.state)
    checkpoints.finish(job.state)
    return checkpoints
