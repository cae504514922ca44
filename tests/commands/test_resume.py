"""tfscale resume: what it refuses, and what it says of a run that has nothing left to train."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkpoints import saved as save_checkpoint
from tests.support.in_place import SMALL, run
from tfscale import cli
from tfscale.checkpoint.folder import complete
from tfscale.config import preflight, saved
from tfscale.job.build import Job

WORDS = (*SMALL, "strategy.replicas=2", "train.batch=200")
LIMITS = {"steps": ("train.steps=2",), "epochs": ("train.epochs=2",)}
"""A run of two steps of one epoch each."""


@pytest.fixture(params=LIMITS)
def limit(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def started(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run called one, in runs of the current folder, that has a configuration and nothing else."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / "one"
    path.mkdir(parents=True)
    words = [*WORDS, *LIMITS[limit], "run.name=one"]
    saved.write(preflight.check_job(preflight.preflight(words, config_dir=None), processes=1), path)
    return path


@pytest.fixture
def finished(started: Path, build_job: Callable[..., Job]) -> Path:
    """The same, finished."""
    save_checkpoint(run(build_job(*WORDS), 2), started / "checkpoints")
    (started / "summary.json").write_text(json.dumps({"steps": 2, "epochs": 2.0}))
    return started


def test_a_finished_run_says_so_and_is_left_alone(
    finished: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was evaluated again, and its summary then said samples_per_second 0.0."""
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    wanted = (
        f"run one is finished: it has trained 2 steps, and train.{limit}=2 asks for no more; to train it further, "
        f"type: tfscale resume one train.{limit}=4\n"
    )
    for words in (["resume"], ["resume", "one"], ["resume", "one", "launch.np=1"], ["resume", "latest"]):
        assert cli.main(words) == 0
        assert capsys.readouterr().out == wanted
    assert cli.main(["train", "resume=true", "run.name=one"]) == 0
    assert capsys.readouterr().out == wanted
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_fewer_steps_than_it_has_are_finished_too(
    finished: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`resume one train.steps=3` after 6 steps said "step 6/3"."""
    assert cli.main(["resume", "one", f"train.{limit}=1"]) == 0
    assert f"has trained 2 steps, and train.{limit}=1 asks for no more" in capsys.readouterr().out


def test_a_run_that_is_not_finished_is_trained(finished: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trains(Exception):
        pass

    def launch(*arguments: object) -> int:
        raise Trains

    monkeypatch.setattr("tfscale.commands.train._supervise", launch)
    with pytest.raises(Trains):
        cli.main(["resume", "one", f"train.{limit}=3"])
    (finished / "summary.json").write_text(json.dumps({"steps": 2, "epochs": 2.0, "ended_early": "enough"}))
    with pytest.raises(Trains):
        cli.main(["resume", "one"])
    (finished / "summary.json").write_text(json.dumps({"steps": 2, "epochs": 2.0}))
    (checkpoint,) = complete(finished / "checkpoints")
    (checkpoint / "shared-0000.safetensors").write_bytes(b"")
    with pytest.raises(Trains):
        cli.main(["resume", "one"])


@pytest.mark.parametrize("limit", ["steps"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "optimizer.learning_rate=0.1,0.2",
            "optimizer.learning_rate=0.1,0.2 has several values, and this command takes one; quote a comma",
        ),
        ("~train.epochs", "~train.epochs cannot be removed from an earlier run; give train.epochs a value, or null"),
        ("train.log_every=${nowhere}", "an override cannot be used: Interpolation key 'nowhere' not found"),
        (
            "train.epochs=9",
            "train.epochs has no effect on run one: it has train.steps=2; change that, or add train.ste",
        ),
        ("optimizer=adam", "optimizer cannot change in an earlier run, only values like train.epochs can"),
        ("strategy/codec=rice", "strategy/codec cannot change in an earlier run, only values like train.epochs can"),
        ("+seed=3", "seed cannot change in an earlier run: its position in the data depends on it; leave it out"),
    ],
)
def test_a_wrong_value_does_not_make_a_run_damaged(
    started: Path, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tfscale resume a optimizer.learning_rate=0.1,0.2` called a sound run damaged."""
    assert cli.main(["resume", "one", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "damaged" not in line
