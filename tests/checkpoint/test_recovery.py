"""A save that was begun when a process died is brought to its end by its parent."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.support.checkpoints import alone
from tests.support.in_place import SMALL, run
from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint import shards
from tfscale.checkpoint import staging as memory
from tfscale.checkpoint.recovery import recover
from tfscale.checkpoint.staging import StagedCheckpoint, StagingBuffer
from tfscale.checkpoint.tensor_file import TensorFile
from tfscale.job.build import Job

STEP = "step-000000050"


def full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    made = [each for _ in range(2) if (each := memory.create()) is not None]
    yield made
    for each in made:
        os.close(each)


def told(descriptor: int, rank: int, **changed: object) -> None:
    """The replica that a process of two holds is copied."""
    own = StagingBuffer(descriptor)
    names = checkpoint_format.replica_file(rank), checkpoint_format.shared_file(rank)
    files = {name: TensorFile({"weights": np.full(3, rank, np.float32)}, own.allocate).content for name in names}
    copy = StagedCheckpoint(step=50, shared_digests={names[0]: 4}, identity={"cpu": "x"}, parent="step-000000025")
    own.commit(replace(copy, **changed), files)


def test_what_all_have_copied_is_sealed(descriptors: list[int], tmp_path: Path) -> None:
    (tmp_path / "step-000000025").mkdir()
    for rank, descriptor in enumerate(descriptors):
        told(descriptor, rank)
    assert recover(tmp_path, descriptors) is None
    manifest = checkpoint_format.verify(tmp_path / STEP)
    assert (manifest.step, manifest.replicas, manifest.parent) == (50, 2, "step-000000025")
    assert manifest.identity == {"cpu": "x"}
    content = (tmp_path / STEP / checkpoint_format.replica_file(1)).read_bytes()
    np.testing.assert_array_equal(safetensors.numpy.load(content)["weights"], [1, 1, 1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000025", STEP]


def test_what_one_has_not_copied_is_left(descriptors: list[int], tmp_path: Path) -> None:
    told(descriptors[0], 0)
    assert recover(tmp_path, descriptors) is None
    told(descriptors[1], 1, step=25)
    assert recover(tmp_path, descriptors) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sealed", [STEP, "step-000000075"])
def test_what_is_sealed_already_is_left(descriptors: list[int], tmp_path: Path, sealed: str) -> None:
    (tmp_path / sealed).mkdir()
    for rank, descriptor in enumerate(descriptors):
        told(descriptor, rank)
    assert recover(tmp_path, descriptors) is None
    assert [path.name for path in tmp_path.iterdir()] == [sealed]
    assert not list((tmp_path / sealed).iterdir())


def test_replicas_that_differ_are_not_sealed(descriptors: list[int], tmp_path: Path) -> None:
    told(descriptors[0], 0)
    told(descriptors[1], 1, shared_digests={checkpoint_format.replica_file(1): 5})
    failure = recover(tmp_path, descriptors)
    assert failure is not None
    assert failure.startswith(f"checkpoint {STEP} could not be saved: replica-0001.safetensors is of a replica that")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_said(descriptors: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, descriptor in enumerate(descriptors):
        told(descriptor, rank)
    monkeypatch.setattr(os, "fsync", full)
    failure = recover(tmp_path, descriptors)
    assert failure == f"checkpoint {STEP} could not be saved: [Errno 28] No space left on device"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damaged", [b"", b'"x"', b"000025", b'"shared_digests"'])
def test_what_a_dying_process_has_damaged_is_left(descriptors: list[int], tmp_path: Path, damaged: bytes) -> None:
    for rank, descriptor in enumerate(descriptors):
        told(descriptor, rank)
    content = os.pread(descriptors[0], os.fstat(descriptors[0]).st_size, 0)
    os.pwrite(descriptors[0], b"7", content.index(damaged) + len(damaged) // 2)  # or where the word is
    assert recover(tmp_path, descriptors) is None
    assert not list(tmp_path.iterdir())


def test_it_is_the_checkpoint_that_the_process_would_have_written(
    build_job: Callable[..., Job], descriptors: list[int], tmp_path: Path
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    other.mkdir()
    job, checkpoints = build_job(*SMALL), alone(own, memory=StagingBuffer(descriptors[0]))
    for _ in range(2):  # into the same rooms
        checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert recover(other, descriptors[:1]) is None
    whole = [checkpoint_format.verify(folder / "step-000000002") for folder in (own, other)]
    assert whole[0] == whole[1]


@pytest.mark.parametrize("sealed", [True, False])
def test_nobody_copies_anew_before_the_chief_has_sealed_or_given_up(
    build_job: Callable[..., Job],
    descriptors: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sealed: bool,
) -> None:
    """The chief itself waits for nobody, not even where it cannot remove what it gives up."""
    waits: list[float] = []
    aside = tmp_path / "step-000000001.tmp-a-0"

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            if sealed:
                aside.rename(tmp_path / "step-000000001")
            else:
                (aside / "part-0002.failed").touch()

    job = run(build_job(*SMALL), 1)
    monkeypatch.setattr(shards.time, "sleep", sleep)
    checkpoints = alone(tmp_path, process=1, memory=StagingBuffer(descriptors[0]))
    checkpoints.save(job.state)
    checkpoints.wait()
    assert waits == 3 * [shards._LOOK]
    monkeypatch.setattr(checkpoint_format, "discard", lambda place: None)
    monkeypatch.setattr(os, "fsync", full)
    chief = alone(tmp_path / "chief", memory=StagingBuffer(descriptors[1]), warn=lambda words: None)
    chief.save(job.state)
    chief.wait()
    assert (tmp_path / "chief" / "step-000000001.tmp-a-0").exists()
    assert len(waits) == 3


def test_what_was_put_back_is_not_followed_by_what_was_copied_before(
    build_job: Callable[..., Job], descriptors: list[int], tmp_path: Path
) -> None:
    job, checkpoints = build_job(*SMALL), alone(tmp_path, memory=StagingBuffer(descriptors[0]))
    checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert memory.read(descriptors[0]) is not None
    assert checkpoints.rollback(job.state, every=1) == "step-000000001"
    assert memory.read(descriptors[0]) is None
