"""Finds the run that a name means: an argument of a command, or `model.init_from=run:NAME`.

A folder with a saved configuration is a run. Runs lie in run.dir, and the jobs of a sweep in the sweep's folder there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from tfscale import user_paths
from tfscale.errors import UserError

FILE = "config.yaml"
"""Name of the file with the configuration in a run directory."""

LATEST = "latest"
"""Name that stands for the run that was started last."""

Which: TypeAlias = Literal["newest", "best"]
"""A checkpoint of a run: the newest one, or that of the best evaluation."""


def checkpoint_of(text: str) -> Which:
    """Returns the checkpoint of a name.

    Raises:
        UserError: It names none.
    """
    if text == "newest" or text == "best":
        return text
    raise UserError(f"checkpoint must be newest or best, got {text}; leave it out for the newest")


SHOWN = 8
"""Runs that a message lists."""


def exists(folder: Path) -> bool:
    """True if the folder is that of a run.

    Raises:
        UserError: It cannot be looked at.
    """
    return user_paths.is_file(folder / FILE)


def no_such_run(folder: Path) -> str:
    """The message for a run that does not exist; names those beside it."""
    known = [path.name for path in user_paths.folders_in(folder.parent) if exists(path)]
    hint = f"runs there: {', '.join(known[-8:])}" if known else f"there are no runs in {folder.parent}"
    return f"run {folder.name} does not exist in {folder.parent}; {hint}"


def find(name: str, folder: Path) -> Path:
    """Returns the folder of a run.

    Args:
        name: A run in `folder`, the path of a run, a job of a sweep as SWEEP/job-001, or job-001 alone if only one
            sweep has such a job; or latest.
        folder: The folder of all runs, run.dir.

    Raises:
        UserError: There is no such run, or a folder cannot be read.
    """
    if name == LATEST:
        return _latest(folder)
    for path in (folder / name, user_paths.expanded(name)):
        if exists(path):
            return path
    jobs = [path for path in all_runs(folder) if path.name == name]
    if len(jobs) == 1:
        return jobs[0]
    if jobs:
        names = " and ".join(str(path.relative_to(folder)) for path in jobs[-SHOWN:])
        raise UserError(f"{name} is a job of several sweeps in {folder}; name one: {names}")
    jobs = [path for path in all_runs(folder) if path.parent == folder / name]
    if jobs:
        names = ", ".join(str(path.relative_to(folder)) for path in jobs[:SHOWN])
        raise UserError(f"{name} is a sweep; name one of its jobs: {names}")
    raise UserError(no_such_run(folder / name))


def all_runs(folder: Path) -> list[Path]:
    """Returns the runs in a folder by name, each sweep's jobs in its place; not those that this user may not enter.

    Raises:
        UserError: The folder cannot be read.
    """
    found = []
    for path in user_paths.folders_in(folder):
        if _is_run(path):
            found.append(path)
        elif _is_sweep(path):
            found += [job for job in user_paths.folders_in(path) if _is_run(job)]
    return found


def no_runs(folder: Path) -> UserError:
    """The message for a folder without runs."""
    return UserError(f"there are no runs in {folder}; type tfscale train, or name their folder: run.dir=DIR")


def names_and_values(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates names of runs from overrides."""
    names = [word for word in words if "=" not in word and (not word.startswith("~") or "/" in word)]
    return names, [word for word in words if word not in names]


def _latest(folder: Path) -> Path:
    starts = {path: (path / FILE).stat().st_mtime for path in all_runs(folder)}
    if not starts:
        raise no_runs(folder)
    return max(starts, key=lambda path: starts[path])


def _is_run(path: Path) -> bool:
    try:
        return (path / FILE).is_file()
    except OSError:
        return False


def _is_sweep(path: Path) -> bool:
    try:
        return any(path.glob(f"job-*/{FILE}"))
    except OSError:
        return False
