"""What precedes a run: its name, and the command that a message names when it is stopped."""

from pathlib import Path

import pytest

from tfscale.commands import prepare
from tfscale.config import preflight


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "mlp-digits-local-001"),
        (["strategy=local"], "mlp-digits-local-001"),
        (["strategy=horovod_averaging"], "mlp-digits-horovod_averaging-001"),
        (["strategy=horovod", "model=lenet", "data=mnist"], "lenet-mnist-horovod-001"),
        (["strategy=sharing", "strategy/codec=rice"], "mlp-digits-sharing-001"),
        (["recipe=faults_digits"], "mlp-digits-sharing-001"),
    ],
)
def test_a_run_is_named_after_the_strategy_as_it_was_typed(
    words: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`strategy=local` made a run called `...-parameter_averaging-001`."""
    monkeypatch.chdir(tmp_path)
    composed = prepare.config_of([*words, "run.name=null"], None)
    assert prepare.directory_of(composed.config, composed.choices).path.name == name


def test_an_option_of_the_users_own_names_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "strategy").mkdir(parents=True)
    (tmp_path / "conf" / "strategy" / "own.yaml").write_text("_target_: mine.Mine\n")
    composed = prepare.config_of(["strategy=own", "trust=[mine]"], "conf")
    assert composed.choices["strategy"] == "own"
    directory = prepare.directory_of(composed.config, composed.choices)
    assert directory.path.name == "mlp-digits-own-001"
    stopped = directory.describe_stop("SIGTERM")
    assert stopped.endswith("with: tfscale resume mlp-digits-own-001 'trust=[mine]'"), stopped


def test_choices_are_those_of_the_configuration() -> None:
    composed = preflight.composed(["strategy=sharing", "strategy/codec=rice", "optimizer=adam"], config_dir=None)
    chosen = {"strategy": "sharing", "strategy/codec": "rice", "optimizer": "adam", "model": "mlp"}
    assert chosen.items() <= composed.choices.items()
    assert not [group for group in composed.choices if group.startswith("hydra")]
