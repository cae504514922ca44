"""Processes that save together report their shards, and the chief deals with those that do not."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.checkpoints import alone, store
from tests.support.in_place import SMALL, run
from tfscale.checkpoint import shards
from tfscale.job.build import Job
from tfscale.training.checkpoints import Checkpoints


def test_the_chief_collects_the_shards_of_all(tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    written = [
        shards.write_shard(
            partial, {f"file {shard}": np.full(shard, 7, np.uint8)}, shard=shard, shared_digests={f"replica {shard}": 3}
        )
        for shard in range(3)
    ]
    merged = shards.collect(partial, written[0], 3)
    assert merged.files == {name: total for one in written for name, total in one.files.items()}
    assert merged.shared_digests == {"replica 0": 3, "replica 1": 3, "replica 2": 3}
    assert sorted(path.name for path in partial.iterdir()) == ["file 0", "file 1", "file 2"]


def test_the_wait_for_a_shard_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARDS_TIMEOUT", 0.05)
    with pytest.raises(OSError, match="process 1 has not written its shard in"):
        shards.collect(tmp_path, shards.Shard(files={}, shared_digests={}), 2)


def test_the_chief_gives_up_a_checkpoint_that_another_process_could_not_write(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, warnings = build_job(*SMALL), list[str]()
    partial = tmp_path / "step-000000001.tmp-a-0"
    checkpoints = Checkpoints(store(tmp_path, processes=2, warn=warnings.append), identity={})
    partial.mkdir()
    (partial / "part-0001.failed").touch()
    checkpoints.save(run(job, 1).state)
    checkpoints.wait()
    assert "process 1 could not write its shard" in warnings[0]
    assert [path.name for path in partial.iterdir()] == ["part-0000.failed"]
    shards.write_shard(partial, {}, shard=1, shared_digests={})

    def waits(seconds: float) -> None:
        raise AssertionError("the chief has given up")

    monkeypatch.setattr(shards.time, "sleep", waits)
    shards.wait_for_chief(partial)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SystemExit(1), ValueError("closed")])
def test_a_warning_that_cannot_be_shown_stops_nothing(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The output may be on the disk that is full."""
    warnings: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        raise error

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    job, checkpoints = build_job(*SMALL), alone(tmp_path, warn=warn)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        checkpoints.save(run(job, 1).state)
        checkpoints.wait()
    assert len(warnings) == 1
    assert not list(tmp_path.iterdir())
    checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000002"]
