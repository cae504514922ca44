"""The parent finishes the save that was begun when a process died."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.support.checkpoints import alone
from tests.support.in_place import SMALL, run
from tfscale.checkpoint import folder as checkpoint_folder
from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint import shards, staging
from tfscale.checkpoint.recovery import recover
from tfscale.checkpoint.staging import StagedCheckpoint, StagingBuffer
from tfscale.checkpoint.tensor_file import TensorFile
from tfscale.job.build import Job

STEP = "step-000000050"


def full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    created = [each for _ in range(2) if (each := staging.create()) is not None]
    yield created
    for each in created:
        os.close(each)


def stage(descriptor: int, rank: int, **changed: object) -> None:
    """Commits the replica that one of two processes holds."""
    own = StagingBuffer(descriptor)
    names = checkpoint_format.replica_file(rank), checkpoint_format.shared_file(rank)
    files = {name: TensorFile({"weights": np.full(3, rank, np.float32)}, own.allocate).content for name in names}
    staged = StagedCheckpoint(step=50, shared_digests={names[0]: 4}, identity={"cpu": "x"}, parent="step-000000025")
    own.commit(replace(staged, **changed), files)


def test_a_checkpoint_that_all_have_staged_is_finished(descriptors: list[int], tmp_path: Path) -> None:
    (tmp_path / "step-000000025").mkdir()
    for rank, descriptor in enumerate(descriptors):
        stage(descriptor, rank)
    assert recover(tmp_path, descriptors) is None
    manifest = checkpoint_format.verify(tmp_path / STEP)
    assert (manifest.step, manifest.replicas, manifest.parent) == (50, 2, "step-000000025")
    assert manifest.identity == {"cpu": "x"}
    content = (tmp_path / STEP / checkpoint_format.replica_file(1)).read_bytes()
    np.testing.assert_array_equal(safetensors.numpy.load(content)["weights"], [1, 1, 1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000025", STEP]


def test_nothing_is_saved_if_one_process_has_not_staged_it(descriptors: list[int], tmp_path: Path) -> None:
    stage(descriptors[0], 0)
    assert recover(tmp_path, descriptors) is None
    stage(descriptors[1], 1, step=25)
    assert recover(tmp_path, descriptors) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("complete", [STEP, "step-000000075"])
def test_a_complete_checkpoint_is_not_written_again(descriptors: list[int], tmp_path: Path, complete: str) -> None:
    (tmp_path / complete).mkdir()
    for rank, descriptor in enumerate(descriptors):
        stage(descriptor, rank)
    assert recover(tmp_path, descriptors) is None
    assert [path.name for path in tmp_path.iterdir()] == [complete]
    assert not list((tmp_path / complete).iterdir())


def test_replicas_that_differ_are_not_saved(descriptors: list[int], tmp_path: Path) -> None:
    stage(descriptors[0], 0)
    stage(descriptors[1], 1, shared_digests={checkpoint_format.replica_file(1): 5})
    failure = recover(tmp_path, descriptors)
    assert failure is not None
    assert failure.startswith(f"checkpoint {STEP} could not be saved: replica-0001.safetensors is of a replica that")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported(descriptors: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, descriptor in enumerate(descriptors):
        stage(descriptor, rank)
    monkeypatch.setattr(os, "fsync", full)
    failure = recover(tmp_path, descriptors)
    assert failure == f"checkpoint {STEP} could not be saved: [Errno 28] No space left on device"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damaged", [b"", b'"x"', b"000025", b'"shared_digests"'])
def test_nothing_is_saved_if_a_dying_process_damaged_its_buffer(
    descriptors: list[int], tmp_path: Path, damaged: bytes
) -> None:
    for rank, descriptor in enumerate(descriptors):
        stage(descriptor, rank)
    content = os.pread(descriptors[0], os.fstat(descriptors[0]).st_size, 0)
    os.pwrite(descriptors[0], b"7", content.index(damaged) + len(damaged) // 2)  # b"": the offset of the index
    assert recover(tmp_path, descriptors) is None
    assert not list(tmp_path.iterdir())


def test_the_recovered_checkpoint_equals_the_one_that_the_process_writes(
    build_job: Callable[..., Job], descriptors: list[int], tmp_path: Path
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    other.mkdir()
    job, checkpoints = build_job(*SMALL), alone(own, buffer=StagingBuffer(descriptors[0]))
    for _ in range(2):  # into the same buffers
        checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert recover(other, descriptors[:1]) is None
    manifests = [checkpoint_format.verify(folder / "step-000000002") for folder in (own, other)]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize("finalized", [True, False])
def test_no_buffer_is_overwritten_before_the_chief_has_finalized_or_given_up(
    build_job: Callable[..., Job],
    descriptors: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finalized: bool,
) -> None:
    """The chief itself does not wait, not even if it cannot remove the folder that it gives up."""
    waits: list[float] = []
    partial = tmp_path / "step-000000001.tmp-a-0"

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            if finalized:
                partial.rename(tmp_path / "step-000000001")
            else:
                (partial / "part-0002.failed").touch()

    job = run(build_job(*SMALL), 1)
    monkeypatch.setattr(shards.time, "sleep", sleep)
    checkpoints = alone(tmp_path, process=1, buffer=StagingBuffer(descriptors[0]))
    checkpoints.save(job.state)
    checkpoints.wait()
    assert waits == 3 * [shards._POLL]
    monkeypatch.setattr(checkpoint_folder, "discard", lambda path: None)
    monkeypatch.setattr(os, "fsync", full)
    chief = alone(tmp_path / "chief", buffer=StagingBuffer(descriptors[1]), warn=lambda message: None)
    chief.save(job.state)
    chief.wait()
    assert (tmp_path / "chief" / "step-000000001.tmp-a-0").exists()
    assert len(waits) == 3


def test_a_rollback_withdraws_the_staged_copy(
    build_job: Callable[..., Job], descriptors: list[int], tmp_path: Path
) -> None:
    job, checkpoints = build_job(*SMALL), alone(tmp_path, buffer=StagingBuffer(descriptors[0]))
    checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert staging.read(descriptors[0]) is not None
    assert checkpoints.rollback(job.state, every=1) == "step-000000001"
    assert staging.read(descriptors[0]) is None
