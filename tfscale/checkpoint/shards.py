"""Shards of a checkpoint: each process writes its own, and the chief, who is shard 0, waits for all.

A process reports its shard in a file, `part-NNNN.json`, and a failure in `part-NNNN.failed`; with `part-0000.failed`
the chief reports that it has given up.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfscale import atomic_file
from tfscale.checkpoint import checksummed_json, durable_io

SHARDS_TIMEOUT = 60.0
"""Seconds that the chief waits for the shards of the other processes."""

CHIEF_TIMEOUT = 2 * SHARDS_TIMEOUT
"""Seconds that the others wait for the chief, who may be waiting for one of them."""

_POLL = 0.01
"""Seconds between two looks at the folder."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Files that one process has written.

    Attributes:
        files: Name -> sha256 of each file.
        shared_digests: Name of each replica's file -> digest of the arrays that are equal in all replicas.
    """

    files: Mapping[str, str]
    shared_digests: Mapping[str, int]


def write_shard(
    partial: Path, files: Mapping[str, np.ndarray], *, shard: int, shared_digests: Mapping[str, int]
) -> Shard:
    """Writes the files of one process, verifies them on the disk, and reports them to the chief.

    Args:
        partial: Folder of the unfinished checkpoint; created if missing.
        files: Name -> bytes of each file, [size] uint8.
        shard: The process's rank.
        shared_digests: See `Shard`.

    Raises:
        OSError: A write failed, or a file reads back as something else.
    """
    try:
        partial.mkdir(parents=True, exist_ok=True)
        written = Shard(files=durable_io.write(partial, files), shared_digests=shared_digests)
        if shard:  # a message to the chief; not synced, as no restart reads it
            atomic_file.replace(_report(partial, shard), checksummed_json.document(vars(written)))
    except Exception:
        if shard:
            mark_failed(partial, shard)
        raise
    return written


def mark_failed(partial: Path, shard: int) -> None:
    """Reports that a process has failed; retries for as long as a disk is likely to be full."""
    deadline = time.monotonic() + SHARDS_TIMEOUT / 2
    while time.monotonic() < deadline:
        with suppress(OSError):
            partial.mkdir(parents=True, exist_ok=True)
            _failure(partial, shard).touch()
            return
        time.sleep(_POLL)


def collect(partial: Path, own: Shard, shards: int) -> Shard:
    """Waits for the shards of all processes and merges them with the chief's own.

    Raises:
        OSError: A process could not write its shard, or has not within `SHARDS_TIMEOUT` seconds.
        ValueError: A report is damaged; see `checksummed_json.read`.
    """
    files, shared_digests = {**own.files}, {**own.shared_digests}
    deadline = time.monotonic() + SHARDS_TIMEOUT
    for shard in range(1, shards):
        while not _report(partial, shard).exists():
            if _failure(partial, shard).exists():
                raise OSError(f"process {shard} could not write its shard")
            if time.monotonic() > deadline:
                raise OSError(f"process {shard} has not written its shard in {SHARDS_TIMEOUT:.0f} s")
            time.sleep(_POLL)
        report = checksummed_json.read(_report(partial, shard).read_bytes())
        files |= report["files"]
        shared_digests |= report["shared_digests"]
        _report(partial, shard).unlink()
    return Shard(files=files, shared_digests=shared_digests)


def wait_for_chief(partial: Path) -> None:
    """Returns once the chief has finalized or given up a checkpoint, after `CHIEF_TIMEOUT` seconds at the latest."""
    deadline = time.monotonic() + CHIEF_TIMEOUT
    while not _is_over(partial) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _is_over(partial: Path) -> bool:
    try:
        return any(path.suffix == ".failed" for path in partial.iterdir())
    except OSError:  # it was renamed or removed
        return True


def _report(partial: Path, shard: int) -> Path:
    return partial / f"part-{shard:04d}.json"


def _failure(partial: Path, shard: int) -> Path:
    return partial / f"part-{shard:04d}.failed"
