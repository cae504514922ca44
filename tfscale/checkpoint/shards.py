"""The parts of a checkpoint: each process writes its own aside, and the chief, who is part 0, waits for all.

What another wrote it says in a file of its own, `part-NNNN.json`; that it could not, in `part-NNNN.failed`, and so says
the chief that it has given up.
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfscale.checkpoint import checksummed_json as summed
from tfscale.checkpoint import durable_io as durable

WAIT = 60.0
"""Seconds that the chief waits for the parts of the other processes."""

SEALING = 2 * WAIT
"""Seconds that the others wait for the chief, who may be waiting for one of them."""

_LOOK = 0.01


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one process has written: name -> sha256 of each file, and the sums that `write_part` was given."""

    files: Mapping[str, str]
    alike: Mapping[str, int]


def write_part(place: Path, files: Mapping[str, np.ndarray], *, part: int, alike: Mapping[str, int]) -> Part:
    """Writes one process's files, compares them with what is then on the disk, and tells the chief, if another, so.

    Args:
        place: The folder aside; made if need be.
        files: Name -> bytes, [size] uint8, of each.
        part: The process's rank.
        alike: Name of each replica's file -> a sum of what all replicas hold alike, as this one has it.

    Raises:
        OSError: Something could not be written, or reads back as something else.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        written = Part(files=durable.write(place, files), alike=alike)
        if part:
            aside = _part(place, part).with_suffix(".new")
            aside.write_bytes(summed.document(vars(written)))  # a message, which no restart will read
            os.replace(aside, _part(place, part))
    except Exception:
        if part:
            tell_of_failure(place, part)
        raise
    return written


def tell_of_failure(place: Path, part: int) -> None:
    """Leaves a mark for those who wait for this part; tries for as long as a disk is likely to be full."""
    deadline = time.monotonic() + WAIT / 2
    while time.monotonic() < deadline:
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            _failed(place, part).touch()
            return
        time.sleep(_LOOK)


def gather(place: Path, own: Part, parts: int) -> Part:
    """All parts in one, after they are there; the chief's own is given.

    Raises:
        OSError: One could not be written, or is missing after `WAIT` seconds.
        ValueError: What a process says is damaged; see `summed.read`.
    """
    files, alike = {**own.files}, {**own.alike}
    deadline = time.monotonic() + WAIT
    for part in range(1, parts):
        while not _part(place, part).exists():
            if _failed(place, part).exists():
                raise OSError(f"process {part} could not write its part")
            if time.monotonic() > deadline:
                raise OSError(f"process {part} has not written its part in {WAIT:.0f} s")
            time.sleep(_LOOK)
        said = summed.read(_part(place, part).read_bytes())
        files |= said["files"]
        alike |= said["alike"]
        _part(place, part).unlink()
    return Part(files=files, alike=alike)


def wait_for_chief(place: Path) -> None:
    """Returns once the chief has sealed what is aside there, or has given up; after `SEALING` seconds at the latest."""
    deadline = time.monotonic() + SEALING
    while not _is_over(place) and time.monotonic() < deadline:
        time.sleep(_LOOK)


def _is_over(place: Path) -> bool:
    try:
        return any(name.endswith(".failed") for name in os.listdir(place))
    except OSError:  # it has got its name, or is removed
        return True


def _part(place: Path, part: int) -> Path:
    return place / f"part-{part:04d}.json"


def _failed(place: Path, part: int) -> Path:
    return place / f"part-{part:04d}.failed"
