"""Old `_target_` paths still work, with one line of warning."""

from collections.abc import Mapping
from typing import Any

import pytest
from omegaconf import OmegaConf

from tfscale.config.compose import composer, plain
from tfscale.config.moved_targets import NEW_OPTIONS, completed, current
from tfscale.config.preflight import check_job, preflight, typed
from tfscale.config.schemas.by_target import TARGET_SCHEMAS

OLD = {
    "tfscale.data.digits.digits": "tfscale.data.sources.digits.digits",
    "tfscale.data.idx.idx": "tfscale.data.sources.idx.idx",
    "tfscale.codecs.rice.Rice": "tfscale.compression.codecs.rice.Rice",
    "tfscale.thresholds.Fixed": "tfscale.compression.thresholds.Fixed",
    "tfscale.schedules.cosine": "tfscale.training.schedules.cosine",
    "tfscale.early_stopping.EarlyStopping": "tfscale.training.early_stopping.EarlyStopping",
    "tfscale.strategies.gradient_sharing.GradientSharing": (
        "tfscale.strategies.gradient_sharing.strategy.GradientSharing"
    ),
}
"""As runs of the revision before the move have saved them."""


@pytest.mark.parametrize("old", OLD)
def test_an_old_path_is_the_current_one(old: str) -> None:
    assert current(old) == OLD[old] in TARGET_SCHEMAS


@pytest.mark.parametrize("target", TARGET_SCHEMAS)
def test_a_current_path_stays(target: str) -> None:
    assert current(target) == target


def test_an_old_path_in_a_configuration_is_one_warning(capfd: pytest.CaptureFixture[str]) -> None:
    words = ("data._target_=tfscale.data.digits.digits", "schedule._target_=tfscale.schedules.constant")
    assert preflight(words, config_dir=None).data["_target_"] == "tfscale.data.sources.digits.digits"
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        "tfscale: warning: tfscale.data.digits.digits has moved; write tfscale.data.sources.digits.digits "
        "(and 1 more paths)"
    )


def test_an_old_value_is_the_current_one(capfd: pytest.CaptureFixture[str]) -> None:
    words = ("strategy=sharing", "strategy.kernel=plain")
    assert preflight(words, config_dir=None).strategy["kernel"] == "reference"
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "tfscale: warning: strategy.kernel=plain has moved; write strategy.kernel=reference"


@pytest.mark.parametrize("choice", ["data=images", "schedule=constant", "schedule=exponential", "schedule=piecewise"])
def test_options_that_an_earlier_run_lacks_are_the_shipped_ones(choice: str) -> None:
    """Runs with data=images could be neither resumed nor evaluated once the source had learnt to read tables."""
    group = choice.partition("=")[0]
    with composer(None) as hydra:
        whole = plain(hydra.compose([choice]))
    target = whole[group]["_target_"]
    old = {**whole, group: {key: each for key, each in whole[group].items() if key not in NEW_OPTIONS[target]}}
    assert old[group] != whole[group]
    assert completed(old)[group] == whole[group]


@pytest.mark.parametrize("choice", ["sharing", "local", "horovod_averaging", "horovod"])
def test_a_strategy_of_an_earlier_run_is_the_shipped_one(choice: str) -> None:
    with composer(None) as hydra:
        whole = plain(hydra.compose([f"strategy={choice}"]))
    strategy = whole["strategy"]
    old = {key: each for key, each in strategy.items() if key not in ("outer", "levels", "residual_decay")}
    if choice == "sharing":
        del old["every"]
    assert _resolved(completed({**whole, "strategy": old})) == _resolved(whole)


def _resolved(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The strategy of a configuration without values that follow from others."""
    return check_job(typed(OmegaConf.create(dict(values))), processes=2).strategy


def test_a_model_of_an_earlier_run_gets_the_keys_that_change_nothing() -> None:
    model = completed({"model": {"_target_": "mine.net", "freeze": ["a"]}})["model"]
    assert model == {"_target_": "mine.net", "freeze": ["a"], "init_from": None}
