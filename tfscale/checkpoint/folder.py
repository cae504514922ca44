"""The folder of a run's checkpoints: which there are, which is the newest, which are removed.

A name `step-N` is given to complete checkpoints only, by a rename. A complete checkpoint may still be damaged later;
one that reads back as it was saved is intact.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tfscale.checkpoint.format import DamagedError, folder_name, read_manifest, step_of, verify
from tfscale.errors import UserError

OnDamage = Callable[[Path, DamagedError], None]
"""Called with each damaged checkpoint that is skipped."""


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, newest first; their files are not read."""
    found = (path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted(found, key=step_of, reverse=True)


def newest_complete(folder: Path) -> Path | None:
    """Newest complete checkpoint; its files are not read."""
    return next(iter(complete(folder)), None)


def intact(folder: Path, on_damage: OnDamage) -> Iterator[Path]:
    """Yields the intact checkpoints, newest first; each is read only when it is asked for."""
    for checkpoint in complete(folder):
        try:
            verify(checkpoint)
        except DamagedError as error:
            on_damage(checkpoint, error)
        else:
            yield checkpoint


def newest(folder: Path, on_damage: OnDamage) -> Path:
    """Newest intact checkpoint.

    Raises:
        UserError: There is none.
    """
    for checkpoint in intact(folder, on_damage):
        return checkpoint
    raise UserError(
        f"run.name must name a run with an intact checkpoint, but {folder} has none; delete {folder.parent} or give "
        "another run.name"
    )


def quarantine(checkpoint: Path) -> None:
    """Renames a damaged checkpoint: it is kept for inspection but never considered again."""
    target = checkpoint.with_name(f"damaged-{checkpoint.name}")
    discard(target)
    os.replace(checkpoint, target)


def remove_partial(folder: Path, *, until: int | None = None) -> None:
    """Removes the remains of saves that did not finish; no process may be writing them.

    Args:
        folder: Of all checkpoints.
        until: Last step whose remains are removed; None for all.
    """
    for partial in folder.glob("step-*.tmp-*"):
        if until is None or partial.name.partition(".")[0] <= folder_name(until):
            discard(partial)


def discard(path: Path) -> None:
    """Removes a folder; what cannot be removed stays."""
    shutil.rmtree(path, ignore_errors=True)


def prune(folder: Path, *, keep: int, best: str | None) -> None:
    """Removes all checkpoints but the newest `keep` and the one named `best`.

    Raises:
        DamagedError: The manifest of the newest does not read back as it was saved; nothing is removed.
    """
    checkpoints = complete(folder)
    if len(checkpoints) > keep:
        read_manifest(checkpoints[0])
    for old in checkpoints[keep:]:
        if old.name != best:
            discard(old)
