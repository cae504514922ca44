"""What processes that save together tell each other, and what is done about what they do not."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.checkpoints import alone
from tests.support.in_place import SMALL, run
from tfscale.checkpoint import shards
from tfscale.checkpoint.staging import StagingBuffer
from tfscale.job.build import Job
from tfscale.training.checkpoints import Checkpoints


def test_the_chief_knows_what_all_have_written(tmp_path: Path) -> None:
    place = tmp_path / "aside"
    each = [
        shards.write_shard(
            place, {f"file {shard}": np.full(shard, 7, np.uint8)}, shard=shard, shared_digests={f"replica {shard}": 3}
        )
        for shard in range(3)
    ]
    whole = shards.collect(place, each[0], 3)
    assert whole.files == {name: total for one in each for name, total in one.files.items()}
    assert whole.shared_digests == {"replica 0": 3, "replica 1": 3, "replica 2": 3}
    assert sorted(path.name for path in place.iterdir()) == ["file 0", "file 1", "file 2"]


def test_a_part_that_does_not_come_is_not_waited_for_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "WAIT", 0.05)
    with pytest.raises(OSError, match="process 1 has not written its part in"):
        shards.collect(tmp_path, shards.Shard(files={}, shared_digests={}), 2)


def test_the_chief_gives_up_a_checkpoint_that_another_process_could_not_write(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, warnings = build_job(*SMALL), list[str]()
    place = tmp_path / "step-000000001.tmp-a-0"
    checkpoints = Checkpoints(
        tmp_path,
        keep=1,
        process=0,
        processes=2,
        attempt="a",
        identity={},
        memory=StagingBuffer(),
        warn=warnings.append,
    )
    place.mkdir()
    (place / "part-0001.failed").touch()
    checkpoints.save(run(job, 1).state)
    checkpoints.wait()
    assert "process 1 could not write its part" in warnings[0]
    assert [path.name for path in place.iterdir()] == ["part-0000.failed"]
    shards.write_shard(place, {}, shard=1, shared_digests={})

    def waits(seconds: float) -> None:
        raise AssertionError("the chief has given up")

    monkeypatch.setattr(shards.time, "sleep", waits)
    shards.wait_for_chief(place)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SystemExit(1), ValueError("closed")])
def test_a_warning_that_cannot_be_shown_stops_nothing(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The output can be on the disk that is full."""
    told: list[str] = []

    def warn(words: str) -> None:
        told.append(words)
        raise error

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    job, checkpoints = build_job(*SMALL), alone(tmp_path, warn=warn)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        checkpoints.save(run(job, 1).state)
        checkpoints.wait()
    assert len(told) == 1
    assert not list(tmp_path.iterdir())
    checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000002"]
