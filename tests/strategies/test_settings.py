"""Every strategy owns its options, rules and automatic values, and describes what it measures."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.in_place import SMALL, VARIANTS
from tests.support.marks import quick
from tfscale.config.preflight import check_job, preflight
from tfscale.config.strategy_settings import all_settings, settings_of
from tfscale.job.build import Job

ROOT = Path(__file__).parent.parent.parent / "tfscale"
SHARING = ("strategy=sharing", "strategy/collective=in_process")


def test_every_folder_of_strategies_has_settings() -> None:
    folders = {path.parent.name for path in (ROOT / "strategies").glob("*/strategy.py")}
    assert all_settings().keys() == folders
    assert len(folders) == 4
    for settings in all_settings().values():
        assert settings.SCHEMAS
        for target in settings.SCHEMAS:
            assert settings_of(target) is settings
    assert settings_of("mine.Strategy") is None


def test_nobody_outside_of_its_folder_names_a_strategy() -> None:
    classes = [target.rpartition(".")[2] for each in all_settings().values() for target in each.SCHEMAS]
    pattern = re.compile(rf"\b({'|'.join(classes)})\b|\"sharing\"")
    named = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if path.parent.parent.name != "strategies" and pattern.search(path.read_text())
    }
    assert named == {"config/evaluation.py"}, "which evaluates with plain gradient averaging"


def test_settings_need_no_tensorflow() -> None:
    code = (
        "import sys\nfrom tfscale.config.strategy_settings import all_settings\n"
        "assert len(all_settings()) == 4\nassert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", quick(VARIANTS, only=["sharing in rounds, outer optimizer", "local, int8"]))
def test_what_a_strategy_describes_is_what_it_measures(build_job: Callable[..., Job], name: str) -> None:
    strategy = build_job(*SMALL, "strategy.replicas=2", *VARIANTS[name]).state.strategy
    described = strategy.describe().measurements
    assert described.keys() <= strategy.measurements().keys()
    of_tensors = {figure for figure, each in described.items() if each.of_tensors}
    assert of_tensors == strategy.tensor_measurements().keys()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), {"shares": "gradients", "combine": "mean", "momentum": 0.9, "nesterov": True}),
        (("optimizer=sgd",), {"shares": "gradients", "combine": "mean", "momentum": 0.0, "nesterov": False}),
        (("optimizer=adam",), {"shares": "updates", "combine": "root", "momentum": 0.0, "nesterov": False}),
        *(
            ((f"optimizer={name}",), {"shares": "updates", "combine": "root", "momentum": 0.0, "nesterov": False})
            for name in ("rmsprop", "lion", "adafactor", "muon")
        ),
        (
            ("strategy.shares=updates",),
            {"shares": "updates", "combine": "mean", "momentum": 0.0, "nesterov": False},
        ),
    ],
)
def test_automatic_values_of_sharing_follow_from_the_optimizer(words: tuple[str, ...], wanted: dict) -> None:
    config = check_job(preflight([*SHARING, *words], config_dir=None), processes=1)
    assert {key: config.strategy[key] for key in wanted} == wanted
    if wanted["momentum"]:
        assert (config.optimizer["momentum"], config.optimizer["nesterov"]) == (0.0, False)


@pytest.mark.parametrize(("optimizer", "momentum"), [("rmsprop", 0.5), ("muon", 0.95)])
def test_momentum_that_is_no_sum_of_gradients_stays_in_the_optimizer(optimizer: str, momentum: float) -> None:
    """It was moved before the compression with shares=gradients, and RMSprop was given a key that it does not take."""
    words = [
        f"optimizer={optimizer}",
        f"optimizer.momentum={momentum}",
        "strategy=sharing",
        "strategy.shares=gradients",
    ]
    config = check_job(preflight([*words, "strategy/collective=in_process"], config_dir=None), processes=1)
    assert config.strategy["momentum"] == 0
    assert config.optimizer["momentum"] == momentum
    assert config.optimizer.get("nesterov") == (True if optimizer == "muon" else None)


@pytest.mark.parametrize(
    ("words", "density", "gain", "levels"),
    [
        ((), 0.0005, 1.0, 1),
        (("strategy.every=2",), 0.0005, 2.0, 15),
        (("strategy.every=16",), 0.002, 16.0, 15),
        (("strategy.every=16", "strategy/codec=bitmap"), 0.002, 16.0, 1),
        (("strategy.every=1000",), 1 / 32, 100.0, 15),
        (("strategy.every=16", "strategy.levels=2"), 0.002, 16.0, 2),
        (("strategy.every=16", "strategy.threshold.density=0.01", "strategy.threshold.gain=3"), 0.01, 3.0, 15),
    ],
)
def test_rounds_of_several_steps_have_values_of_their_own(
    words: tuple[str, ...], density: float, gain: float, levels: int
) -> None:
    strategy = resolved(*words)
    assert strategy["threshold"]["density"] == pytest.approx(density)
    assert strategy["threshold"]["gain"] == gain
    assert strategy["levels"] == levels
    assert strategy["outer"]["momentum"] == 0.0, "with a momentum some jobs diverge"


def resolved(*words: str) -> Mapping[str, Any]:
    """The settings of `sharing` without values that follow from others."""
    return check_job(preflight((*SHARING, *words), config_dir=None), processes=1).strategy
