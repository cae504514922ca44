"""The folder of a run: one for all processes, whatever started them.

runs/NAME/
    config.yaml       the resolved configuration
    environment.json  versions and settings that results depend on
    metrics.jsonl     training records and evaluations
    summary.json      results, once the run has ended well
    sharing.png       what sharing did over the steps, and tensors.png for each tensor; see reporting/plots.py
    checkpoints/      see training/checkpoint.py
    logs/             rank-N.log, what the process said; rank-N.error, what it died of
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tfscale.errors import UserError

VARIABLE = "TFSCALE_RUN"
"""Environment variable in which a parent that made the folder hands it to the ranks it starts; others ignore it."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a process died of.

    Attributes:
        rank: Of the process.
        when: Seconds since the epoch; the smallest is the cause, the rest are consequences.
        message: For the user.
        code: Exit code.
    """

    rank: int
    when: float
    message: str
    code: int


@final
class RunDirectory:
    """Places in a run's folder.

    Args:
        path: The folder, which exists.
        new: Whether this process has just made it.

    Raises:
        UserError: It does not, or cannot be written to.
    """

    def __init__(self, path: Path, *, new: bool = False) -> None:
        self.path, self._new = path, new
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.environment = path / "environment.json"
        self.tensorboard = path / "tensorboard"
        self.logs = path / "logs"
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

    def record_failure(self, failure: Failure) -> None:
        """Writes down what a process died of, for the parent or the chief to show."""
        place = self._failure(failure.rank)
        temporary = place.with_suffix(".tmp")
        temporary.write_text(json.dumps(vars(failure)))
        os.replace(temporary, place)

    def first_failure(self) -> Failure | None:
        """The earliest recorded failure: the cause of the others."""
        found = [Failure(**json.loads(place.read_text())) for place in self.logs.glob("rank-*.error")]
        return min(found, key=lambda failure: failure.when, default=None)

    def show_first_failure(self) -> int | None:
        """Prints the cause of a job's end to standard error and returns its exit code, if a process recorded one."""
        failure = self.first_failure()
        if failure is None:
            return None
        where = "" if failure.code == 2 else f" Its log: {self.log(failure.rank)}"
        print(f"tfscale: rank {failure.rank} failed: {failure.message}{where}", file=sys.stderr)
        return failure.code

    def how_to_go_on(self) -> str:
        """What a person who stopped the run may want to know."""
        if not self.checkpoints.is_dir():
            return f"there is no checkpoint yet: {self.path} can be deleted"
        place = "" if self.path.parent.name == "runs" else f" run.dir={self.path.parent}"
        return f"go on after its last checkpoint with: tfscale train resume=true run.name={self.path.name}{place}"

    def discard(self) -> None:
        """Removes a run that this process made and that ended before it began, so that its name is free again."""
        if self._new and not (self.metrics.exists() or self.checkpoints.exists() or self.summary.exists()):
            shutil.rmtree(self.path, ignore_errors=True)

    def forget_failures(self) -> None:
        """Removes the records of an earlier start."""
        for place in self.logs.glob("rank-*.error"):
            place.unlink()

    def _failure(self, rank: int) -> Path:
        return self.logs / f"rank-{rank}.error"


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
            f"run.name={name} exists in {folder}; type resume=true run.name={name} to go on with it, or give another "
            "run.name"
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
