"""Settings that differ, with keys as a person types them."""

from pathlib import Path

from tests.support.run_folders import new_run
from tfscale.report.read import Run, read_run
from tfscale.report.settings import changed, differing, shown


def of(folder: Path, name: str, *words: str) -> Run:
    return read_run(new_run(folder, name, *words), name)


def test_the_defaults_have_no_rows(tmp_path: Path) -> None:
    assert changed(of(tmp_path, "x")) == {}


def test_an_option_is_one_row_and_its_defaults_are_none(tmp_path: Path) -> None:
    rows = changed(of(tmp_path, "x", "optimizer=adam", "strategy=sharing", "strategy.threshold.density=0.001"))
    assert rows == {
        "optimizer": ("adam", ""),
        "strategy": ("sharing", ""),
        "strategy.threshold.density": ("0.001", "0.0005"),
    }


def with_choices(run: Run, **choices: object) -> Run:
    return Run(**{**vars(run), "environment": {"choices": choices}})


def test_the_recorded_option_is_shown_where_several_have_one_target(tmp_path: Path) -> None:
    run = of(tmp_path, "x", "optimizer=sgd", "optimizer.momentum=0.5")
    assert "optimizer" not in changed(run), "an earlier run: the default, nesterov, has the same target"
    assert changed(with_choices(run, optimizer="sgd")) == {
        "optimizer": ("sgd", ""),
        "optimizer.momentum": ("0.5", "0"),
    }


def test_a_record_that_does_not_fit_the_configuration_is_not_used(tmp_path: Path) -> None:
    run = of(tmp_path, "x", "optimizer=adam")
    for damaged in ("adamw", "no/such", 3):
        assert changed(with_choices(run, optimizer=damaged)) == {"optimizer": ("adam", "")}


def test_an_option_of_a_nested_group_is_a_row(tmp_path: Path) -> None:
    rows = changed(of(tmp_path, "x", "strategy=sharing", "strategy/threshold=fixed", "strategy.threshold.initial=0.1"))
    assert rows["strategy/threshold"] == ("fixed", "")
    assert rows["strategy.threshold.initial"][0] == "0.1"


def test_values_have_their_defaults_beside_them(tmp_path: Path) -> None:
    rows = changed(of(tmp_path, "x", "optimizer.learning_rate=0.5", "model.hidden=[8,4]", "train.steps=7"))
    assert rows == {
        "optimizer.learning_rate": ("0.5", "0.02"),
        "model.hidden": ("[8,4]", "[256,128]"),
        "train.steps": ("7", "null"),
    }


def test_an_option_of_the_users_own_is_shown_with_all_its_keys(tmp_path: Path) -> None:
    run = of(tmp_path, "x")
    own = Run(**{**vars(run), "config": {**run.config, "model": {"_target_": "mine.net", "width": 3}}})
    assert changed(own) == {"model._target_": ("mine.net", "tfscale.models.mlp.mlp"), "model.width": ("3", "")}


def test_a_comparison_has_what_was_chosen_differently(tmp_path: Path) -> None:
    runs = [
        of(tmp_path, "a", "strategy=sharing", "train.batch=8"),
        of(tmp_path, "b", "train.batch=8", "strategy.every=7"),
        of(tmp_path, "c", "strategy=horovod", "train.batch=8"),
    ]
    assert differing(runs) == {"strategy": ["sharing", "local", "horovod"], "strategy.every": ["1", "7", ""]}
    assert differing(runs[:1]) == {}


def test_a_run_without_a_readable_configuration_is_compared_all_the_same(tmp_path: Path) -> None:
    run = of(tmp_path, "a", "train.batch=8")
    empty = Run(**{**vars(run), "config": {}})
    assert changed(empty) == {}
    assert differing([run, empty]) == {"train.batch": ["8", ""]}


def test_values_are_shown_as_they_are_typed() -> None:
    values = (None, True, 0.01, 5.0, 1e-7, [1, 2], "adam", {}, float("nan"), float("inf"))
    assert [shown(value) for value in values] == [
        *("null", "true", "0.01", "5", "1e-07", "[1,2]", "adam", "{}", "NaN", "Infinity")
    ]
