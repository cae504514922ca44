"""The group `tracker`: any number of options, trackers of the user's own, and messages that say what to type."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tfscale.config import checks, saved
from tfscale.config.compose import composer, plain
from tfscale.config.moved_targets import TENSORBOARD, completed
from tfscale.config.overrides import parse
from tfscale.config.preflight import check_job, preflight
from tfscale.errors import UserError

MLFLOW = "tracker.mlflow.tracking_uri=http://localhost:5000"


def trackers(*words: str) -> dict[str, dict[str, Any]]:
    return preflight(words, config_dir=None).tracker


def test_a_run_has_no_tracker_one_or_several() -> None:
    assert trackers() == trackers("tracker=[]") == {}
    assert list(trackers("tracker=tensorboard")) == ["tensorboard"]
    several = trackers("tracker=[mlflow,wandb]", "tracker.mlflow.experiment=mine", "tracker.wandb.mode=offline")
    assert [several["mlflow"]["experiment"], several["wandb"]["mode"]] == ["mine", "offline"]


def test_a_tracker_of_the_users_own_stands_beside_shipped_ones() -> None:
    both = trackers("tracker=tensorboard", "+tracker.own._target_=mine.Own", "+tracker.own.key=3", "trust=[mine]")
    assert both["own"] == {"_target_": "mine.Own", "key": 3}
    assert list(both) == ["tensorboard", "own"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("tracker=mlfow",),
            "tracker must be one of mlflow, tensorboard, wandb, got mlfow; did you mean tracker=mlflow?",
        ),
        (("tracker=[mlflow,foo]",), "tracker must be one of mlflow, tensorboard, wandb, got foo; type: tfscale ls"),
        (("tracker=null",), "tracker must be a list of options, got null; type tracker=[] for none"),
        (
            ("tracker=mlflow,wandb",),
            "tracker=mlflow,wandb is a sweep; type tracker=[mlflow,wandb] for all of them, or add -m",
        ),
        (
            ("tracker.mlflow.experiment=x",),
            "tracker.mlflow.experiment is not a key of the chosen tracker; tracker=mlflow has it: type tracker=mlflow "
            "tracker.mlflow.experiment=...",
        ),
        (("tracker=wandb", "tracker.wandb.mode=off"), "tracker.wandb.mode must be online or offline, got off"),
        (("tracker=wandb", "tracker.wandb.timeout=0"), "tracker.wandb.timeout must be a number > 0, got 0"),
        (
            ("+tracker.own._target_=mine.Own",),
            "tracker.own._target_ must begin with tfscale.tracking., got mine.Own; if that code is yours, type "
            "trust=[mine]",
        ),
        (("run.tensorboard=true",), "run.tensorboard is not a key any more; type tracker=tensorboard"),
        (("+run.tensorboard=true",), "run.tensorboard is not a key any more; type tracker=tensorboard"),
    ],
)
def test_a_mistake_says_what_to_type(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        trackers(*words)
    assert message in caught.value.problems


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_missing_is_named_before_anything_starts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda package: None if package == name else found(package))
    config = preflight((f"tracker={name}", *((MLFLOW,) if name == "mlflow" else ())), config_dir=None)
    with pytest.raises(UserError) as caught:
        check_job(config, processes=1)
    assert list(caught.value.problems) == [
        f"tracker={name} must have the package {name}, and it is not there; type: pip install 'tfscale[{name}]'",
    ]


def test_mlflow_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own default is a database in the current folder, for which its client alone has no driver."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(checks, "find_spec", lambda package: package)
    config = preflight(("tracker=mlflow",), config_dir=None)
    with pytest.raises(UserError, match=r"got null; type tracker\.mlflow\.tracking_uri=http://HOST:5000, or set"):
        check_job(config, processes=1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    check_job(config, processes=1)


@pytest.mark.parametrize("value", [True, False])
def test_an_earlier_run_with_run_tensorboard_goes_on_with_the_tracker(tmp_path: Path, value: bool) -> None:
    with composer(None) as hydra:
        whole = plain(hydra.compose([]))
    del whole["tracker"]
    whole["run"]["tensorboard"] = value
    now = completed(whole)
    assert now["tracker"] == ({"tensorboard": dict(TENSORBOARD)} if value else {})
    assert "tensorboard" not in now["run"]
    with composer(None) as hydra:
        assert plain(hydra.compose(["tracker=tensorboard"]))["tracker"] == {"tensorboard": dict(TENSORBOARD)}


def test_a_users_file_with_run_tensorboard_works_with_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.yaml").write_text("dir: runs\nname: null\nstrict: false\ntensorboard: true\n")
    assert list(preflight(("run=mine",), config_dir=str(tmp_path)).tracker) == ["tensorboard"]
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "tfscale: warning: run.tensorboard has moved; write tracker=tensorboard"


def test_resuming_with_run_tensorboard_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    saved.write(preflight(("tracker=tensorboard",), config_dir=None), tmp_path / "one")
    assert list(saved.read(tmp_path / "one", []).tracker) == ["tensorboard"]
    with pytest.raises(
        UserError, match=r"run\.tensorboard is not a key any more; type tracker=tensorboard when you start"
    ):
        saved.read(tmp_path / "one", parse(["run.tensorboard=true"]))
