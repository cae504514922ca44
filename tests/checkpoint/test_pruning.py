"""Pruning of old checkpoints, and what an error then does."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.checkpoints import alone
from tests.support.in_place import SMALL, run
from tfscale.checkpoint import folder as checkpoint_folder
from tfscale.checkpoint.format import DamagedError
from tfscale.job.build import Job


def test_old_checkpoints_are_removed(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL)
    checkpoints = alone(tmp_path, keep=2)
    for _ in range(4):
        checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000003", "step-000000004"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("read_manifest", DamagedError("cut"), "checkpoint step-000000002 cannot be read (cut); the earlier ones are"),
        ("complete", OSError("broken"), "earlier checkpoints cannot be listed (broken); they are"),
    ],
)
def test_old_checkpoints_are_kept_where_something_cannot_be_read(
    build_job: Callable[..., Job],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: Exception,
    message: str,
) -> None:
    def refuse(path: Path) -> NoReturn:
        raise error

    job, warnings = build_job(*SMALL), list[str]()
    checkpoints = alone(tmp_path, keep=1, warn=warnings.append)
    checkpoints.save(run(job, 1).state)
    checkpoints.wait()
    monkeypatch.setattr(checkpoint_folder, name, refuse)
    checkpoints.save(run(job, 1).state)
    checkpoints.finish(job.state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000001", "step-000000002"]
    assert warnings == [f"{message} kept"]


def test_the_unfinished_saves_of_an_earlier_start_are_removed(tmp_path: Path) -> None:
    (tmp_path / "step-000000003.tmp-b").mkdir()
    (tmp_path / "step-000000005.tmp-b").mkdir()
    checkpoint_folder.remove_partial(tmp_path, until=4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000005.tmp-b"]
    alone(tmp_path)
    assert not list(tmp_path.iterdir())
