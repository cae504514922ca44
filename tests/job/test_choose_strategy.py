"""`strategy=auto`: the fastest candidate trains, and nothing of the trial is left in its bits."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_commands import forked
from tests.support.in_place import DATA, IN_PROCESS, composed, parameters, run
from tests.support.marks import quick
from tfscale.collectives.in_process import InProcess
from tfscale.commands.train import with_saved_choice
from tfscale.config import saved
from tfscale.config.preflight import check_job
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import candidates_of, in_steady_state, with_strategy
from tfscale.config.validate import problems_of
from tfscale.errors import UserError
from tfscale.job.build import build, connect
from tfscale.job.build_data import build_data
from tfscale.job.choose_strategy import choose
from tfscale.strategies.fastest import strategy
from tfscale.strategies.fastest.strategy import PARTS, PATIENCE, SETTLING, Fastest
from tfscale.supervision.phase import Phase
from tfscale.world import World

AUTO = (*DATA, "strategy=auto", IN_PROCESS, "strategy.replicas=2")


def config_of(*words: str) -> Config:
    return check_job(composed(*words), processes=1)


def fastest(*names: str) -> Fastest:
    return Fastest(candidates={name: {} for name in names}, collective=InProcess(replicas=2))


class Steps:
    """A training whose steps take these seconds, the last ones for ever."""

    def __init__(self, *seconds: float) -> None:
        self._seconds: Iterator[float] = itertools.chain(seconds, itertools.repeat(seconds[-1]))
        self.counts: list[int] = []

    def __call__(self, count: int) -> float:
        self.counts.append(count)
        return sum(itertools.islice(self._seconds, count)) / count


def test_the_first_of_the_fastest_is_chosen() -> None:
    assert fastest("a", "b", "c").choice({"a": 2.0, "b": 1.0, "c": 1.0}) == "b"


def test_steps_that_compile_do_not_count() -> None:
    train = Steps(2.0, 0.6)
    assert fastest("a").seconds(train, every=1) == pytest.approx(0.6)
    assert sum(train.counts[:-PARTS]) <= SETTLING < sum(train.counts[: 1 - PARTS])


def test_short_steps_are_measured_many_at_a_time_in_whole_rounds() -> None:
    train = Steps(0.001)
    assert fastest("a").seconds(train, every=3) == pytest.approx(0.001)
    assert all(count % 3 == 0 for count in train.counts)
    assert train.counts[-1] >= 500


def test_a_slow_link_ends_the_measurement_early() -> None:
    train = Steps(PATIENCE + 1)
    assert fastest("a").seconds(train, every=1) == pytest.approx(PATIENCE + 1)
    assert train.counts == [1]


@pytest.mark.usefixtures("build_job")
@pytest.mark.parametrize("name", quick(["horovod", "sharing"], only=["sharing"]))
def test_the_chosen_strategy_trains_as_if_it_had_been_typed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fastest, "choice", lambda self, seconds: name)
    for constant in ("PART_SECONDS", "SETTLING"):
        monkeypatch.setattr(strategy, constant, 0)
    config = config_of(*AUTO)
    connection = connect(config, World())
    beats = []
    chosen = choose(config, connection, build_data(config), World(), lambda phase, step: beats.append((phase, step)))
    typed = config_of(*DATA, f"strategy={name}", IN_PROCESS, "strategy.replicas=2")
    assert chosen.config == typed
    assert chosen.seconds.keys() == {"horovod", "sharing"}
    assert all(seconds > 0 for seconds in chosen.seconds.values())
    assert chosen.notes[0].startswith("time of a step: horovod ")
    assert {*beats} == {(Phase.STARTING, 0)}
    own, other = (run(build(each, connection), 3) for each in (chosen.config, typed))
    assert all((a == b).all() for a, b in zip(parameters(own), parameters(other), strict=True))


@pytest.mark.usefixtures("build_job")
def test_a_strategy_that_is_given_is_not_measured() -> None:
    config = config_of(*DATA, "strategy=sharing", IN_PROCESS, "strategy.replicas=2")
    assert not candidates_of(config)
    chosen = choose(config, connect(config, World()), build_data(config), World(), lambda phase, step: None)
    assert chosen.config is config
    assert not chosen.seconds
    assert not chosen.notes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("strategy.candidates.sharing.every=0", "strategy.candidates.sharing.every must be a whole number of steps"),
        ("strategy.candidates.sharing.codec._target_=os.system", "strategy.candidates.sharing.codec._target_ must beg"),
        ("strategy.candidates.horovod._target_=os.system", "strategy.candidates.horovod._target_ must begin with"),
        ("strategy.candidates.sharing.evry=2", "did you mean strategy.candidates.sharing.every?"),
        ("strategy.candidates.sharing.replicas=3", "strategy.candidates.sharing.replicas must be auto, got 3; set str"),
        (
            "strategy/collective@strategy.candidates.sharing.collective=in_process",
            "strategy.candidates.sharing.collective must be as it was",
        ),
        ("+strategy@strategy.candidates.more=auto", "strategy.candidates.more must be a strategy"),
        (
            "strategy.candidates.sharing.shares=gradients strategy.candidates.sharing.every=4",
            "strategy.candidates.sharing.shares must be updates with strategy.candidates.sharing.every above 1",
        ),
        (
            "~strategy.candidates.sharing ~strategy.candidates.horovod",
            "strategy.candidates must be names of strategies",
        ),
    ],
)
def test_a_candidate_is_checked_as_a_strategy_is(words: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        config_of(*AUTO, *words.split())
    assert any(message in problem for problem in caught.value.problems), caught.value.problems


RUNS = {"_target_": "subprocess.check_output", "args": ["true"]}
INNER = {"replicas": "auto", "collective": {"_target_": "auto"}}


@pytest.mark.parametrize(
    "given",
    [
        {"candidates": {"a": {**INNER, "candidates": {"b": RUNS}}}},
        {"candidates": {"a": {**INNER, "candidates": [RUNS]}}},
        {"candidates": [RUNS]},
        {"candidates": {"a": RUNS}},
        {"candidates": {"a": {"_target_": "mine.Strategy", "candidates": {"b": RUNS}}}},
        {"_target_": "mine.Strategy", "candidates": {"b": RUNS}},
        {"_target_": "mine.Strategy", "candidates": [RUNS]},
    ],
)
def test_no_depth_of_candidates_runs_what_nobody_trusts(given: dict[str, Any]) -> None:
    """A candidate inside of a candidate was not looked at once, and `estimate` called it."""
    values = composed(*AUTO).model_dump(mode="json")
    target = values["strategy"]["_target_"]
    own = {"_target_": target, **INNER, **given}
    if isinstance(own["candidates"], dict) and own["candidates"].get("a", {}).get("candidates"):
        own["candidates"]["a"].setdefault("_target_", target)
    problems = problems_of({**values, "strategy": own, "trust": ["mine"]})
    assert any("candidates" in problem for problem in problems), problems
    said = ("subprocess", "strategy.candidates must be", "must be a strategy, got another choice")
    assert any(words in problem for problem in problems for words in said), problems


def test_trials_leave_out_steps_that_differ_from_most() -> None:
    config = config_of(*AUTO, "strategy.candidates.sharing.warmup=9", "strategy.candidates.sharing.threshold.ramp=7")
    steady, keys = in_steady_state(candidates_of(config)["sharing"])
    assert (steady["warmup"], steady["threshold"]["ramp"]) == (0, 0)
    assert keys == ["strategy.warmup", "strategy.threshold.ramp"]
    assert candidates_of(config)["sharing"]["warmup"] == 9


def test_whole_numbers_of_a_candidate_become_floats() -> None:
    config = config_of(
        *AUTO, "strategy.candidates.sharing.residual_decay=1", "strategy.candidates.sharing.threshold.gain=2"
    )
    candidate = candidates_of(config)["sharing"]
    assert isinstance(candidate["residual_decay"], float)
    assert isinstance(candidate["threshold"]["gain"], float)


def test_candidates_have_replicas_and_collective_of_the_choice() -> None:
    config = config_of(*AUTO)
    one = with_strategy(config, candidates_of(config)["sharing"]).strategy
    assert one["replicas"] == 2
    assert one["collective"] == config.strategy["collective"]
    assert "candidates" not in one


def test_a_job_that_starts_again_keeps_its_choice(tmp_path: Path) -> None:
    config = config_of(*AUTO, f"run.dir={tmp_path}")
    typed = config_of(*DATA, "strategy=sharing", IN_PROCESS, "strategy.replicas=2")
    saved.write(config, tmp_path)
    assert with_saved_choice(config, tmp_path) == config, "it has not chosen yet"
    own = typed.model_copy(update={"trust": ["json"], "model": {**typed.model, "_target_": "json.Net"}})
    saved.write(own, tmp_path)
    config = config.model_copy(update={"trust": ["json"]})
    assert with_saved_choice(config, tmp_path).strategy == typed.strategy, "a module that the run trusts stays trusted"
    saved.write(typed, tmp_path)
    again = with_saved_choice(config, tmp_path)
    assert (again.strategy, again.optimizer) == (typed.strategy, typed.optimizer)
    assert with_saved_choice(typed, tmp_path / "nowhere") == typed


@pytest.mark.slow
def test_processes_agree_and_a_resumed_run_keeps_their_choice(tmp_path: Path) -> None:
    words = [
        "train",
        "strategy=auto",
        *DATA,
        "run.name=one",
        "launch.np=2",
        "train.checkpoint_every=5",
        "train.export=null",
    ]
    third = ["+strategy@strategy.candidates.rounds=sharing", "strategy.candidates.rounds.every=4"]
    done = forked().completed([*words, *third, "train.steps=20"], tmp_path, {**os.environ})
    assert done.returncode == 0, done.stderr
    assert "rounds " in next(line for line in done.stdout.splitlines() if line.startswith("time of a step: "))
    before = saved.read(tmp_path / "runs" / "one", []).strategy
    assert "candidates" not in before
    again = forked().completed(["resume", "one", "train.steps=30"], tmp_path, {**os.environ})
    assert again.returncode == 0, again.stderr
    assert "time of a step" not in again.stdout
    assert saved.read(tmp_path / "runs" / "one", []).strategy == before
