"""The id of a run, by which trackers outside of its directory find it at every start: names are used again."""

import uuid
from contextlib import suppress
from pathlib import Path

from tfscale import atomic_file

FILE = "id"
"""In the run directory."""


def run_id(folder: Path) -> str:
    """Returns the unique id of a run; it is made at the first call and kept.

    Args:
        folder: The run directory.

    Raises:
        OSError: It cannot be kept.
    """
    path = folder / FILE
    with suppress(OSError):
        if known := path.read_text(encoding="utf-8").strip():
            return known
    made = uuid.uuid4().hex
    atomic_file.replace(path, f"{made}\n")
    return made
