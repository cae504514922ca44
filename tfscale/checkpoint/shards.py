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

from tfscale.checkpoint import checksummed_json, durable_io

WAIT = 60.0
"""Seconds that the chief waits for the parts of the other processes."""

SEALING = 2 * WAIT
"""Seconds that the others wait for the chief, who may be waiting for one of them."""

_LOOK = 0.01


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What one process has written: name -> sha256 of each file, and the sums that `write_part` was given."""

    files: Mapping[str, str]
    shared_digests: Mapping[str, int]


def write_shard(
    place: Path, files: Mapping[str, np.ndarray], *, shard: int, shared_digests: Mapping[str, int]
) -> Shard:
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
        written = Shard(files=durable_io.write(place, files), shared_digests=shared_digests)
        if shard:
            aside = _shard(place, shard).with_suffix(".new")
            aside.write_bytes(checksummed_json.document(vars(written)))  # a message, which no restart will read
            os.replace(aside, _shard(place, shard))
    except Exception:
        if shard:
            mark_failed(place, shard)
        raise
    return written


def mark_failed(place: Path, shard: int) -> None:
    """Leaves a mark for those who wait for this part; tries for as long as a disk is likely to be full."""
    deadline = time.monotonic() + WAIT / 2
    while time.monotonic() < deadline:
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            _failed(place, shard).touch()
            return
        time.sleep(_LOOK)


def collect(place: Path, own: Shard, shards: int) -> Shard:
    """All parts in one, after they are there; the chief's own is given.

    Raises:
        OSError: One could not be written, or is missing after `WAIT` seconds.
        ValueError: What a process says is damaged; see `summed.read`.
    """
    files, shared_digests = {**own.files}, {**own.shared_digests}
    deadline = time.monotonic() + WAIT
    for shard in range(1, shards):
        while not _shard(place, shard).exists():
            if _failed(place, shard).exists():
                raise OSError(f"process {shard} could not write its part")
            if time.monotonic() > deadline:
                raise OSError(f"process {shard} has not written its part in {WAIT:.0f} s")
            time.sleep(_LOOK)
        said = checksummed_json.read(_shard(place, shard).read_bytes())
        files |= said["files"]
        shared_digests |= said["shared_digests"]
        _shard(place, shard).unlink()
    return Shard(files=files, shared_digests=shared_digests)


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


def _shard(place: Path, shard: int) -> Path:
    return place / f"part-{shard:04d}.json"


def _failed(place: Path, shard: int) -> Path:
    return place / f"part-{shard:04d}.failed"
