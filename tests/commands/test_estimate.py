"""`tfscale estimate`: measured here, with real processes for the exchanges."""

import json
import os
from pathlib import Path

import pytest

from tests.support.forked_commands import BEFORE, forked
from tfscale.commands import estimate
from tfscale.commands.arguments import PARSERS
from tfscale.commands.estimate import KEYS, options_of
from tfscale.config.overrides import parse
from tfscale.config.strategy_settings import compared
from tfscale.errors import RunError, UserError
from tfscale.estimate.model import Costs

JOB = ("data=synthetic", "data.shape=[6]", "data.examples=400", "model.hidden=[16]", "train.batch=8", "train.epochs=3")

QUICKLY = {**os.environ, BEFORE: "tests.commands.test_estimate:measure_for_a_moment"}
TWO_QUICKLY = {**os.environ, BEFORE: "tests.commands.test_estimate:measure_two_for_a_moment"}


def measure_for_a_moment() -> None:
    """Called in the process of the command, whose figures no test looks at."""
    from tfscale.job import measure_costs

    measure_costs.SECONDS = 0.1


def measure_two_for_a_moment() -> None:
    """As above, and only two strategies beside that of the command line."""
    measure_for_a_moment()
    two = {name: compared()[name] for name in ("horovod", "sharing")}
    estimate.compared = lambda: two


@pytest.mark.slow
def test_the_estimate_of_a_small_job_is_printed_and_drawn(tmp_path: Path) -> None:
    words = [*JOB, "ranks=8,2", "link=10Mbit", "latency=1ms", "price=2", "plot=speed.svg", "strategy.delay=1"]
    done = forked().completed(["estimate", *words, "strategy=sharing"], tmp_path, TWO_QUICKLY)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "10 Mbit/s, latency 1 ms, one replica a machine" in lines[0]
    assert " ".join(lines[1].split()) == "ranks strategy ms a step sent a step efficiency samples/s steps time cost"
    for ranks, steps in ((2, 75), (8, 21)):
        rows = [line for line in lines if line.startswith(f"{ranks:>5}  ")]
        assert len(rows) == 1 + 2, "the strategy of the command line as well"
        assert sum(" * " in row for row in rows) == 1
        assert all(f" {steps} " in row for row in rows)
    assert any(line.startswith("bandwidth for an efficiency of 0.9 with 8 replicas: ") for line in lines)
    assert "<svg" in (tmp_path / "speed.svg").read_text()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_measured_link_and_figures_for_programs(tmp_path: Path) -> None:
    hosts = ("launch.np=2", "launch.hosts=[localhost:2]", "launch.network_interface=lo")
    words = [*JOB, "ranks=4", "link=measure", *hosts]
    done = forked().completed(["estimate", *words, "--json"], tmp_path, QUICKLY)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["parameters"] == 6 * 16 + 16 + 16 * 10 + 10
    assert {row["strategy"] for row in document["estimates"]} == set(compared())
    assert 0 < document["transport"]["call"] < 1
    assert document["latency"] >= 0
    measured = document["measured"]
    assert measured["horovod"]["traffic"] == [{"kind": "mean", "words": 282 + 2, "every": 1, "is_hidden": False}]
    mean, check = measured["horovod_averaging"]["traffic"]
    assert (mean["kind"], mean["words"], mean["every"]) == ("mean", 2 * 282, 5), "with its momentum"
    assert (check["kind"], check["words"], check["every"]) == ("gather", 3, 5)
    for name, every in (("sharing", 1), ("sharing every=16", 16)):
        (message,) = measured[name]["traffic"]
        assert (message["kind"], message["every"]) == ("gather", every)
        assert 6 <= message["words"] < 100, "a header, and few elements"
    assert all(each["step_seconds"] > 0 and each["seconds_a_peer"] >= 0 for each in measured.values())
    assert document["step_seconds_alone"] == min(each["step_seconds"] for each in measured.values())
    folder = tmp_path / "runs"
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), []),
        (("strategy=sharing",), []),
        (("strategy=sharing", "strategy.delay=1"), ["your strategy"]),
        (("recipe=averaging_fashion_mnist",), []),
        (("recipe=lenet_mnist_averaging",), ["your strategy"]),
        (("recipe=sharing_fashion_mnist", "strategy.warmup=5", "strategy.threshold.ramp=9"), ["your strategy"]),
    ],
)
def test_strategies_are_compared_as_they_are_shipped(
    words: tuple[str, ...], names: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A recipe's values, such as every=3, went into strategies that they were not meant for."""
    configs = estimate._configs(parse([*words, "data=digits"]), None)
    assert list(configs) == [*names, *compared()]
    assert configs["sharing"].strategy["every"] == 1
    assert configs["sharing every=16"].strategy["every"] == 16
    assert configs["horovod_averaging"].strategy["every"] == 5
    assert {config.train.batch for config in configs.values()} == {configs["sharing"].train.batch}
    if "strategy.warmup=5" in words:
        assert "leaves out what strategy.warmup, strategy.threshold.ramp adds" in capfd.readouterr().err
        assert configs[names[0]].strategy["threshold"]["ramp"] == configs[names[0]].strategy["warmup"] == 0


def test_a_failure_of_the_job_is_one_message() -> None:
    def fail() -> Costs:
        raise ValueError("labels beyond classes\nTraceback")

    with pytest.raises(RunError, match=r"^sharing cannot be measured: labels beyond classes$"):
        estimate._costs("sharing", fail)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("link=100", r"link must be a rate: 100Mbit, 1Gbit or 500kbit, got 100"),
        ("latency=1", r"latency must be a time: 1ms, 50us or 0, got 1"),
        ("ranks=0", r"ranks must be up to 20 whole numbers from 1 to 65,536, got 0; type ranks=2,8,64"),
        ("ranks=2,x", r"ranks must be up to 20 whole numbers"),
        ("price=-1", r"price must be a number >= 0, of one replica and hour, got -1"),
        ("plot=a.txt", r"plot must be a file that ends in .svg, .png, .pdf, got a.txt"),
        ("plot=no/such/a.svg", r"plot=no/such/a.svg lies in a folder that does not exist"),
    ],
)
def test_wrong_settings_are_refused(word: str, wanted: str) -> None:
    key, _, value = word.partition("=")
    with pytest.raises(UserError, match=wanted):
        options_of({key: value})


def test_a_latency_beside_a_measured_link_is_refused() -> None:
    with pytest.raises(UserError, match="latency=1ms has no effect with link=measure"):
        options_of({"link": "measure", "latency": "1ms"})


def test_the_help_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert PARSERS["estimate"]().read(["--help"]) is None
    printed = capsys.readouterr().out
    assert all(f"\n  {key}=" in printed or f" {key}=" in printed for key in KEYS)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["link=measure", "launch.np=2"], "link=measure must have hosts to measure between"),
        (["strategy=horovod", "strategy.reproducible=true"], "estimate cannot simulate the peers"),
        (
            ["strategy=local", "strategy.payload=int8", "ranks=2,64"],
            "with ranks=64: strategy.payload must be float32 or float16 with more than 42 replicas",
        ),
        (["strategy=sharing", "strategy.group=2", "strategy.replicas=8"], "strategy.group must be 1 for an estimate"),
        (["model.hiden=[3]"], "model.hiden"),
    ],
)
def test_jobs_that_cannot_be_estimated_are_refused(words: list[str], wanted: str, tmp_path: Path) -> None:
    done = forked().completed(["estimate", *JOB, *words], tmp_path, os.environ)
    assert (done.returncode, wanted in done.stderr) == (2, True), done.stderr
