"""Checkpoints of jobs in the test's own process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfscale.checkpoint.format import DamagedError
from tfscale.checkpoint.staging import StagingBuffer
from tfscale.checkpoint.store import CheckpointStore
from tfscale.job.build import Job
from tfscale.training.checkpoints import Checkpoints


def everything(job: Job) -> dict[str, np.ndarray]:
    """Copies of all arrays that a checkpoint must preserve, by name."""
    state = {f"shared/{name}": value for name, value in job.state.shared_arrays().items()}
    for index in range(len(job.state.replicas)):
        state |= {f"{index}/{name}": value for name, value in job.state.replica_arrays(index).items()}
    return state


def no_damage(checkpoint: Path, error: DamagedError) -> None:
    raise AssertionError(f"{checkpoint}: {error}")


def no_warning(message: str) -> None:
    raise AssertionError(message)


def store(
    folder: Path,
    *,
    keep: int = 2,
    process: int = 0,
    processes: int = 1,
    buffer: StagingBuffer | None = None,
    warn: Callable[[str], None] = no_warning,
) -> CheckpointStore:
    """The store of one process; by default there is no other."""
    return CheckpointStore(
        folder,
        keep=keep,
        process=process,
        processes=processes,
        attempt="a",
        buffer=buffer or StagingBuffer(),
        warn=warn,
    )


def alone(
    folder: Path,
    *,
    keep: int = 2,
    process: int = 0,
    buffer: StagingBuffer | None = None,
    warn: Callable[[str], None] = no_warning,
) -> Checkpoints:
    """The checkpoints of a run of one process, or of one that is not the chief."""
    return Checkpoints(store(folder, keep=keep, process=process, buffer=buffer, warn=warn), identity={"cpu": "x"})


def saved(job: Job, folder: Path, *, keep: int = 2) -> Checkpoints:
    """The checkpoints of a run, after the job's state is saved."""
    checkpoints = alone(folder, keep=keep)
    checkpoints.save(job.state)
    checkpoints.finish(job.state)
    return checkpoints
