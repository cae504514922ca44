"""Run directory: one for all processes of a run, whatever launcher has started them.

runs/NAME/
    config.yaml       the resolved configuration
    environment.json  command, code, packages and machine of each start; see runs/provenance.py
    preprocessing.json  normalizers, vocabulary and class names, as learned from the training examples
    model.keras       the trained model with its preprocessing, once the run has ended well (train.export)
    metrics.jsonl     training records and evaluations
    summary.json      results, once the run has ended well
    figures.json      what the figures of metrics.jsonl mean: labels, units, panels
    curves.png        loss, metrics, learning rate and speed; see runs/plots.py
    strategy.png      the strategy's figures over the steps, and tensors.png for each tensor
    timeline/         rank-N.jsonl: seconds of each phase of a rank; see training/timeline.py
    checkpoints/      see checkpoint/format.py
    events.jsonl      starts and ends of its processes; see runs/events.py
    id                of the run, for trackers outside of this directory
    tensorboard/      event files, and wandb/, where these trackers are chosen
    lock              held by the process that trains it
    logs/             rank-N.log, output; rank-N.error, the failure; rank-N.heartbeat, step and phase; rank-N.stack,
                      Python stacks of a hang; logs-evaluation/ has the same of `tfscale evaluate`
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from tfscale import atomic_file
from tfscale.errors import UserError
from tfscale.world import from_environment

PATH_FILE = "TFSCALE_PATH_FILE"
"""Variable with the path of a file that gets the path of the run directory, for whoever has started the command."""

VARIABLE = "TFSCALE_RUN"
"""Environment variable of a rank that tfscale has started: its run directory."""

OLD_EVENTS = "membership.jsonl"
"""Name of events.jsonl in run directories of 2026-11-27 and before."""

MIN_FREE = 1 << 20
"""Free bytes below which a disk counts as full."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Failure of a process, as it is recorded in rank-N.error.

    Attributes:
        rank: Rank of the process.
        restarts: Number of earlier starts of its job.
        when: Seconds since the epoch; the earliest failure is the cause, the others are consequences.
        message: For the user.
        code: Exit code.
        retryable: Whether a restart may succeed.
    """

    rank: int
    restarts: int
    when: float
    message: str
    code: int
    retryable: bool


@final
class RunDirectory:
    """Paths in a run directory.

    Args:
        path: The directory, which exists.
        new: Whether this process has just created it.
        logs: Name of the folder for the output of processes; commands other than training have their own.
        only_read: Whether nothing is written.

    Attributes:
        resume_command: Command line that continues the run; whoever knows where it is typed and what it trusts sets it.

    Raises:
        UserError: The directory does not exist, or cannot be written to.
    """

    def __init__(self, path: Path, *, new: bool = False, logs: str = "logs", only_read: bool = False) -> None:
        self.path, self._new = path, new
        self._lock: IO[str] | None = None
        self.resume_command = f"tfscale resume {path.name} run.dir={path.parent}"
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.environment = path / "environment.json"
        self.preprocessing = path / "preprocessing.json"
        self.model = path / "model"
        self.figures = path / "figures.json"
        self.events = path / "events.jsonl"
        if not self.events.exists() and (path / OLD_EVENTS).exists():
            self.events = path / OLD_EVENTS
        self.logs = path / logs
        if only_read:
            return
        try:
            self.logs.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(
                f"run {path} is not there or cannot be written to ({error.strerror}); on several hosts run.dir must be "
                "on a file system that all of them share"
            ) from None

    def log(self, rank: int) -> Path:
        """File with the output of a rank."""
        return self.logs / f"rank-{rank}.log"

    def heartbeat(self, rank: int) -> Path:
        """File with the heartbeat of a rank."""
        return self.logs / f"rank-{rank}.heartbeat"

    def stack(self, rank: int) -> Path:
        """File with the Python stacks of a rank that hung."""
        return self.logs / f"rank-{rank}.stack"

    def timeline(self, rank: int) -> Path:
        """File with the times of a rank's phases."""
        return self.path / "timeline" / f"rank-{rank}.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training this run; the kernel releases the lock when this process ends.

        Raises:
            UserError: Another process trains it.
        """
        path = self.path / "lock"
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file; remove it")
        try:
            self._lock = path.open("w")
        except OSError as error:
            raise UserError(f"{path} cannot be written to ({error.strerror}); remove it") from None
        with self._lock:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"run {self.path.name} in {self.path.parent} is being trained; wait for its end, or stop it first"
                ) from None
            except OSError:
                pass  # a file system without locks: the user must not start two jobs there
            yield

    def release_inherited_lock(self) -> None:
        """Leaves the lock to the parent alone; call it in a forked process, whose children would inherit the lock."""
        if self._lock is not None:
            self._lock.close()

    def is_locked(self) -> bool:
        """Returns whether a process trains this run."""
        path = self.path / "lock"
        try:
            if not path.is_file():
                return False
            with path.open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def record_failure(self, failure: Failure) -> None:
        """Records a failure, for the parent or the chief to show."""
        atomic_file.replace(self._failure(failure.rank), json.dumps(vars(failure)))

    def first_failure(self, restarts: int) -> Failure | None:
        """Failure that caused the others: the earliest not retryable, else the earliest; clocks differ.

        Args:
            restarts: Number of earlier starts of the job; failures of those starts do not count.
        """
        failures = []
        for path in self.logs.glob("rank-*.error"):
            with suppress(OSError, ValueError, TypeError):  # damaged: the process has left an exit code, too
                failures.append(Failure(**json.loads(path.read_text())))
        own = [failure for failure in failures if failure.restarts == restarts]
        return min(own, key=lambda failure: (failure.retryable, failure.when), default=None)

    def documents(self) -> list[Path]:
        """Files that say what the run was and what came of it, and its model where it was exported."""
        named = (self.summary, self.path / "config.yaml", self.environment)
        return [*(path for path in named if path.is_file()), *sorted(self.path.glob("*.keras"))]

    def describe_failure(self, failure: Failure, *, alone: bool = False) -> str:
        """Message about a failure; `alone` if its process is the only one of the job."""
        log = "" if failure.code == 2 else f" Its log: {self.log(failure.rank)}"
        return f"{'' if alone else f'rank {failure.rank} failed: '}{failure.message}{log}"

    def describe_stop(self, name: str, *, lost: bool = False) -> str:
        """Message about a stop by the signal `name`, with the command that resumes the run.

        `lost` tells that steps were completed which no checkpoint has.
        """
        consequence = "; steps since its last checkpoint are lost" if lost else ""
        origin = "after its last checkpoint" if self.checkpoints.is_dir() else "from the beginning"
        return f"stopped by {name}{consequence}; go on {origin} with: {self.resume_command}"

    def discard(self) -> None:
        """Removes the directory if this process has created it and training has not begun; its name is free again."""
        if self._new and not (self.metrics.exists() or self.checkpoints.exists() or self.summary.exists()):
            shutil.rmtree(self.path, ignore_errors=True)

    def ended_after(self) -> int | None:
        """Optimizer steps after which the run has ended well, by its summary; None without a readable summary."""
        with suppress(ValueError, KeyError, TypeError, OverflowError):
            return int(self.results()["steps"])
        return None

    def results(self) -> Mapping[str, Any]:
        """Content of the summary; empty without a readable summary."""
        with suppress(OSError, ValueError, RecursionError):
            if self.summary.is_file():  # opening a pipe would block
                document = json.loads(self.summary.read_text(encoding="utf-8"))
                if isinstance(document, dict):
                    return document
        return {}

    def is_full(self) -> bool:
        """Returns whether the disk of the run is full."""
        with suppress(OSError):
            return shutil.disk_usage(self.path).free < MIN_FREE
        return False

    def clear_failures(self) -> None:
        """Removes the failures, heartbeats, stacks and stop requests of an earlier start."""
        for pattern in ("rank-*.error", "rank-*.heartbeat", "rank-*.stack", "stop-*"):
            for path in self.logs.glob(pattern):
                path.unlink(missing_ok=True)

    def _failure(self, rank: int) -> Path:
        return self.logs / f"rank-{rank}.error"


def started_by_us() -> bool:
    """Returns whether tfscale has started this process as a rank; its parent then reports to the user."""
    return VARIABLE in os.environ and from_environment() is not None


def create(folder: Path, name: str | None, stem: str) -> RunDirectory:
    """Creates the directory of a new run.

    Args:
        folder: Folder of all runs.
        name: Name of the run, or None to number it.
        stem: Beginning of a numbered name.

    Raises:
        UserError: The directory cannot be created, or a run of that name exists.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name is None:
            return RunDirectory(_numbered(folder, stem), new=True)
        (folder / name).mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise UserError(f"run.dir must be a folder, got {folder}, which is a file; name another") from None
        raise UserError(
            f"run.name={name} exists in {folder}; type tfscale resume {name} to go on with it, or give another run.name"
        ) from None
    except OSError as error:
        raise UserError(
            f"run.dir must be a folder to write in, got {folder} ({error.strerror}); name another"
        ) from None
    return RunDirectory(folder / str(name), new=True)


def _numbered(folder: Path, stem: str) -> Path:
    """Creates STEM-001, or the next free number; concurrent calls get different numbers."""
    number = 1
    while True:
        path = folder / f"{stem}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
