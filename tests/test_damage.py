"""Files that are damaged at random: every damage is found, or has changed nothing.

TFSCALE_DAMAGE sets how many there are of each kind; a long run has thousands.
"""

import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tfscale.scripts.chaos.faults import damage

from tests.support.checkpoints import saved as saved_checkpoint
from tests.support.datasets import WORKS, write_idx, write_works
from tests.support.in_place import SMALL, run
from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint.format import DamagedError
from tfscale.commands.run_rows import RunRow
from tfscale.config import preflight, saved
from tfscale.data import checksums
from tfscale.data.base import Arrays
from tfscale.data.sources.idx import idx
from tfscale.data.sources.npz import npz
from tfscale.data.sources.shakespeare import shakespeare
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.runs import summary
from tfscale.runs.events import EventLog, read_events
from tfscale.runs.run_directory import Failure, RunDirectory
from tfscale.supervision import heartbeat
from tfscale.supervision.phase import Phase
from tfscale.tracking.base import Kind, RunInfo
from tfscale.tracking.jsonl import JsonlTracker

COUNT = int(os.environ.get("TFSCALE_DAMAGE", "80"))


def damaged(sound: Path, place: Path, look: Callable[[str], None], *, swap: bool = True) -> None:
    """Damages a copy of a folder again and again, one file at a time, and looks at it, told what was done."""
    chance = random.Random(1)
    for number in range(COUNT):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        path = chance.choice(files)
        if swap and len(files) > 1 and chance.random() < 0.1:
            other = chance.choice([each for each in files if each != path])
            content = path.read_bytes()
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
            look(f"{number}: {path.name} and {other.name} swapped")
        else:
            look(f"{number}: {path.name}, {damage(path, chance)}")
    shutil.rmtree(place, ignore_errors=True)


def test_every_damage_to_a_checkpoint_is_found(build_job: Callable[..., Job], tmp_path: Path) -> None:
    saved_checkpoint(run(build_job(*SMALL, "strategy.replicas=2"), 1), tmp_path / "sound")
    place = tmp_path / "step-000000001"

    def look(what: str) -> None:
        with pytest.raises(DamagedError):
            checkpoint_format.verify(place)
            pytest.fail(f"unnoticed: {what}")

    damaged(tmp_path / "sound" / "step-000000001", place, look)


def test_a_stale_checkpoint_is_found(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL)
    for _ in range(2):
        saved_checkpoint(run(job, 1), tmp_path)
    old, new = (tmp_path / f"step-00000000{step}" for step in (1, 2))
    for path in sorted(old.iterdir()):
        content = (new / path.name).read_bytes()
        if content == path.read_bytes():
            continue
        (new / path.name).write_bytes(path.read_bytes())
        with pytest.raises(DamagedError):
            checkpoint_format.verify(new)
            pytest.fail(f"{path.name} of the checkpoint before went unnoticed")
        (new / path.name).write_bytes(content)
    checkpoint_format.verify(new)


def write_npz(folder: Path) -> None:
    folder.mkdir()
    x = np.random.default_rng(0).random((20, 6), np.float32)
    y = np.arange(20) % 3
    np.savez_compressed(folder / "own.npz", x_train=x, y_train=y, x_test=x[:5], y_test=y[:5])


DATA: dict[str, tuple[Callable[[Path], object], Callable[[Path], Arrays], bool]] = {
    "idx": (
        lambda folder: write_idx(folder, train=20, test=5, zipped=False),
        lambda folder: idx(name="mnist", folder=str(folder)),
        True,
    ),
    "idx, gzipped": (
        lambda folder: write_idx(folder, train=20, test=5, zipped=True),
        lambda folder: idx(name="mnist", folder=str(folder)),
        True,
    ),
    "npz": (write_npz, lambda folder: npz(file=str(folder / "own.npz")), False),
    "npz with sums": (write_npz, lambda folder: npz(file=str(folder / "own.npz")), True),
    "shakespeare": (
        lambda folder: write_works(folder, {f"{WORKS}/one_gut.txt": b"To be, or not to be, that is it.\n" * 50}),
        lambda folder: shakespeare(length=8, stride=3, test_fraction=0.2, folder=str(folder)),
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_no_damage_to_data_goes_unnoticed(tmp_path: Path, name: str) -> None:
    make, read, with_sums = DATA[name]
    sound, place = tmp_path / "sound", tmp_path / "place"
    make(sound)
    if with_sums:
        checksums.write(sound, sorted(path.name for path in sound.iterdir()))
    wanted = read(sound)
    found = 0

    def look(what: str) -> None:
        nonlocal found
        try:
            got = read(place)
        except UserError as error:
            found += 1
            assert len(error.problems) == 1, what
            return
        for one, other in zip(got[:4], wanted[:4], strict=True):
            np.testing.assert_array_equal(one, other, what)
        assert got[4:] == wanted[4:], what

    damaged(sound, place, look)
    assert found > COUNT / 2


def test_no_damage_to_the_records_of_a_run_ends_a_command(tmp_path: Path) -> None:
    """What a run has said of itself; its settings must be as they were, or refused."""
    sound, place = tmp_path / "sound", tmp_path / "one"
    sound.mkdir()
    config = preflight.check_job(preflight.preflight([], config_dir=None), processes=1)
    saved.write(config, sound)
    wanted = saved.read(sound, []).model_dump(exclude={"run"})
    directory = RunDirectory(sound)
    members = EventLog(directory.events)
    members.note("start", restarts=1, processes=[1, 2], checkpoint="step-000000003")
    members.note("training", step=4, seconds_lost=1.5)
    members.note("end", code=1, cause="rank 1 was killed", step=9)
    summary.write({"metrics": ["accuracy"], "accuracy": 0.5, "steps": 9, "processes": 2}, directory.summary)
    directory.record_failure(Failure(rank=1, restarts=0, when=1.0, message="x", code=1, retryable=True))
    heartbeat.Heartbeat(directory.heartbeat(0), timeout=4)(Phase.STEP, 3)
    info = RunInfo(name="one", folder=place, config={}, start=0, steps=5, processes=1)
    records = JsonlTracker(directory.metrics)
    records.start(info)
    for step in range(5):
        records.log(Kind.TRAIN, step, {"loss": 1.0})
    records.finish()
    changed = 0

    def look(what: str) -> None:
        nonlocal changed
        try:
            assert saved.read(place, []).model_dump(exclude={"run"}) == wanted, what
        except UserError as error:
            changed += 1
            assert len(error.problems) == 1
        directory = RunDirectory(place, only_read=True)
        assert RunRow(place, "one").all()["run"] == "one"
        directory.first_failure(0)
        assert all(isinstance(event["event"], str) for event in read_events(directory.events))
        again = JsonlTracker(directory.metrics)
        again.start(replace(info, start=3))
        again.finish()

    damaged(sound, place, look)
    assert changed


def test_records_that_are_no_files_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("events.jsonl", "summary.json", "lock", "logs/rank-0.heartbeat"):
        os.mkfifo(tmp_path / name)
    directory = RunDirectory(tmp_path, only_read=True)
    assert RunRow(tmp_path, "one").all()["step"] is None
    assert directory.ended_after() is None
    with pytest.raises(UserError, match="lock is not a file"), directory.locked():
        pass


def test_stale_settings_are_refused(tmp_path: Path) -> None:
    """The settings of one run with the sum of another's."""
    texts: Sequence[bytes] = []
    for rate in (0.1, 0.2):
        words = [f"optimizer.learning_rate={rate}"]
        saved.write(preflight.check_job(preflight.preflight(words, config_dir=None), processes=1), tmp_path)
        texts = [*texts, (tmp_path / "config.yaml").read_bytes()]
    body, mark, _ = texts[0].rpartition(saved.SUM)
    (tmp_path / "config.yaml").write_bytes(body + mark + texts[1].rpartition(saved.SUM)[2])
    with pytest.raises(UserError, match="is damaged, or was changed"):
        saved.read(tmp_path, [])
