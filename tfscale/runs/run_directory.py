"""The folder of a run: one for all processes, whatever started them.

runs/NAME/
    config.yaml       the resolved configuration
    environment.json  versions and settings that results depend on
    metrics.jsonl     training records and evaluations
    summary.json      results, once the run has ended well
    strategy.png      the strategy's figures over the steps, and tensors.png for each tensor; see runs/plots.py
    checkpoints/      see training/checkpoint.py
    events.jsonl  which processes trained it, and what ended them; see launch/membership.py
    lock              held by whoever trains it
    logs/             rank-N.log, what the process said; rank-N.error, what it died of; rank-N.heartbeat, what it does;
                      rank-N.stack, where it was when it hung; logs-evaluation/ likewise of `tfscale evaluate`
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

VARIABLE = "TFSCALE_RUN"
"""Environment variable in which a parent that made the folder hands it to the ranks it starts; others ignore it."""


OLD_EVENTS = "membership.jsonl"
"""The name that events.jsonl had in run directories of 2026-11-27 and before."""

LEAST_ROOM = 1 << 20
"""Bytes without which a disk is full."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a process died of.

    Attributes:
        rank: Of the process.
        restarts: Of the start of the job that it belonged to.
        when: Seconds since the epoch; the smallest is the cause, the rest are consequences.
        message: For the user.
        code: Exit code.
        again: Whether the job may do better if it is started again.
    """

    rank: int
    restarts: int
    when: float
    message: str
    code: int
    retryable: bool


@final
class RunDirectory:
    """Places in a run's folder.

    Args:
        path: The folder, which exists.
        new: Whether this process has just made it.
        logs: The folder in it for what processes say: those that train it have their own.
        only_read: Whether nothing is to be written.

    Raises:
        UserError: It does not, or cannot be written to.
    """

    def __init__(self, path: Path, *, new: bool = False, logs: str = "logs", only_read: bool = False) -> None:
        self.path, self._new = path, new
        self._lock: IO[str] | None = None
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.environment = path / "environment.json"
        self.tensorboard = path / "tensorboard"
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
        """What rank `rank` said."""
        return self.logs / f"rank-{rank}.log"

    def heartbeat(self, rank: int) -> Path:
        """What rank `rank` does."""
        return self.logs / f"rank-{rank}.heartbeat"

    def stack(self, rank: int) -> Path:
        """Where rank `rank` is in its Python code, if it was asked."""
        return self.logs / f"rank-{rank}.stack"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else trains this run meanwhile; the kernel gives the lock back when this process is gone.

        Raises:
            UserError: Somebody does.
        """
        place = self.path / "lock"
        if place.exists() and not place.is_file():
            raise UserError(f"{place} is not a file; remove it")
        try:
            self._lock = place.open("w")
        except OSError as error:
            raise UserError(f"{place} cannot be written to ({error.strerror}); remove it") from None
        with self._lock:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"run {self.path.name} in {self.path.parent} is being trained; wait for its end, or stop it first"
                ) from None
            except OSError:
                pass  # a file system without locks: whoever starts two jobs there must know it
            yield

    def release_inherited_lock(self) -> None:
        """In a forked process: the lock stays the parent's alone, whatever this one starts and leaves behind."""
        if self._lock is not None:
            self._lock.close()

    def is_locked(self) -> bool:
        """Whether somebody trains this run."""
        place = self.path / "lock"
        try:
            if not place.is_file():
                return False
            with place.open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def record_failure(self, failure: Failure) -> None:
        """Writes down what a process died of, for the parent or the chief to show."""
        atomic_file.replace(self._failure(failure.rank), json.dumps(vars(failure)))

    def first_failure(self, restarts: int) -> Failure | None:
        """The cause of the others: the earliest that is not of an exchange, or the earliest; clocks of hosts differ.

        Args:
            restarts: Of the start of the job that is meant; what one before it still wrote says nothing.
        """
        found = []
        for place in self.logs.glob("rank-*.error"):
            with suppress(OSError, ValueError, TypeError):  # damaged: its process has still left an exit code
                found.append(Failure(**json.loads(place.read_text())))
        own = [failure for failure in found if failure.restarts == restarts]
        return min(own, key=lambda failure: (failure.retryable, failure.when), default=None)

    def describe_failure(self, failure: Failure, *, alone: bool = False) -> str:
        """A failure for the user, of the only process of its job, or of one of several."""
        where = "" if failure.code == 2 else f" Its log: {self.log(failure.rank)}"
        return f"{'' if alone else f'rank {failure.rank} failed: '}{failure.message}{where}"

    def describe_stop(self, why: str) -> str:
        """What a person who stopped the run may want to know.

        Args:
            why: The name of a signal, and what there is to add.
        """
        place = "" if self.path.parent.name == "runs" else f" run.dir={self.path.parent}"
        where = "after its last checkpoint" if self.checkpoints.is_dir() else "from the beginning"
        return f"stopped by {why}; go on {where} with: tfscale resume {self.path.name}{place}"

    def discard(self) -> None:
        """Removes a run that this process made and that ended before it began, so that its name is free again."""
        if self._new and not (self.metrics.exists() or self.checkpoints.exists() or self.summary.exists()):
            shutil.rmtree(self.path, ignore_errors=True)

    def ended_after(self) -> int | None:
        """Optimizer steps after which the run has ended well, as its summary says; None if there is none to be read."""
        with suppress(ValueError, KeyError, TypeError, OverflowError):
            return int(self.results()["steps"])
        return None

    def results(self) -> Mapping[str, Any]:
        """What its summary says; nothing if there is none to be read."""
        with suppress(OSError, ValueError, RecursionError):
            if self.summary.is_file():  # whatever it is, it would be waited for
                document = json.loads(self.summary.read_text(encoding="utf-8"))
                if isinstance(document, dict):
                    return document
        return {}

    def is_full(self) -> bool:
        """Whether there is hardly any room on its disk."""
        try:
            return shutil.disk_usage(self.path).free < LEAST_ROOM
        except OSError:
            return False

    def clear_failures(self) -> None:
        """Removes the records of an earlier start, of what it died of or why it stopped."""
        for pattern in ("rank-*.error", "rank-*.heartbeat", "rank-*.stack", "stop-*"):
            for place in self.logs.glob(pattern):
                place.unlink(missing_ok=True)

    def _failure(self, rank: int) -> Path:
        return self.logs / f"rank-{rank}.error"


def started_by_us() -> bool:
    """Whether a parent of ours has started this process as a rank, and says what there is to say."""
    return VARIABLE in os.environ and from_environment() is not None


def create(folder: Path, name: str | None, stem: str) -> RunDirectory:
    """Makes a new run's folder.

    Args:
        folder: Of all runs.
        name: Of the run, or None to number it.
        stem: What a numbered name begins with.

    Raises:
        UserError: The folder cannot be made, or a run of that name exists.
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
    """Makes STEM-001 or the next number that is free; safe against others that do the same now."""
    number = 1
    while True:
        path = folder / f"{stem}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
