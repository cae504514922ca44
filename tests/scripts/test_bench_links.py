"""The parts of the link bench that need no root: what it would type, what it says, what it makes of measurements."""

import json
import os
import shutil
import signal
from collections.abc import Sequence

import pytest
from tfscale.scripts.bench import links
from tfscale.scripts.bench import links_worker as bench_links_worker
from tfscale.scripts.bench.links_network import commands, named, undisturbed
from tfscale.scripts.bench.links_worker import FP16, FP32, SHARING, STRATEGIES, Measured, Task

from tfscale.config.preflight import check_job, preflight
from tfscale.supervision.signals import Stopped, signals_raise


def task(**changes: object) -> Task:
    values = {
        "column": FP32,
        "batch": 64,
        "rate": 0.1,
        "steps": 4,
        "target": None,
        "every": 2,
        "limit": 9.0,
        "folder": "",
    }
    return Task(**{**values, **changes})


class Learner:
    """Reaches an accuracy of 0.1 a step, in no time."""

    def __init__(self, *, over: bool = False) -> None:
        self.steps, self._over = 0, over

    def step(self) -> None:
        self.steps += 1

    def accuracy(self) -> float:
        return self.steps / 10

    def anyone(self, flag: bool) -> bool:
        return flag or self._over


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_links_worker, "sent_bytes", iter(range(0, 10**6, 1000)).__next__)


@pytest.mark.parametrize(
    ("link", "buckets", "burst"),
    [("none", 0, ""), ("1gbit", 4, "262144b"), ("100mbit", 4, "125000b"), ("10mbit", 4, "65536b")],
)
def test_both_ends_of_every_link_are_shaped(link: str, buckets: int, burst: str) -> None:
    lines = [" ".join(command) for command in commands(named(2, 77), link)]
    shaped = [line for line in lines if line.startswith("tc")]
    assert len(shaped) == buckets
    assert all(line.endswith(f"root tbf rate {link} burst {burst} latency 50ms") for line in shaped)
    assert len({line.split(" root ")[0] for line in shaped}) == buckets


def test_all_commands_work_inside_namespaces_that_carry_the_pid() -> None:
    for ranks in (2, 4):
        made = [command for command in commands(named(ranks, 77), "1gbit") if command[:3] == ["ip", "netns", "add"]]
        assert [command[3] for command in made] == [
            "tfscale-77-switch",
            *(f"tfscale-77-{rank}" for rank in range(ranks)),
        ]
        others = [command for command in commands(named(ranks, 77), "1gbit") if command not in made]
        assert all(command[1] == "-n" and command[2].startswith("tfscale-77-") for command in others)


def test_every_rank_is_a_host_of_its_own() -> None:
    environments = [links.environment(rank, 4, port=1234, threads=1) for rank in range(4)]
    assert len({each["HOROVOD_HOSTNAME"] for each in environments}) == 4
    assert {each["HOROVOD_GLOO_RENDEZVOUS_ADDR"] for each in environments} == {"198.18.0.1"}
    assert [each["HOROVOD_CROSS_RANK"] for each in environments] == ["0", "1", "2", "3"]
    assert {each["HOROVOD_LOCAL_SIZE"] for each in environments} == {"1"}


def test_a_task_survives_a_command_line() -> None:
    assert Task(**json.loads(task(target=0.97).to_json())) == task(target=0.97)


@pytest.mark.parametrize("column", STRATEGIES)
def test_every_column_names_a_job_that_the_preflight_passes(column: str) -> None:
    words = [word for word in bench_links_worker.words(task(column=column)) if word != "data=mnist"]
    assert check_job(preflight([*words, "data=synthetic"], config_dir=None), processes=2).train.batch == 64


@pytest.mark.usefixtures("wire")
def test_without_a_target_so_many_steps_are_measured() -> None:
    measured = bench_links_worker.measure(Learner(), task(steps=4))
    assert (len(measured.seconds), measured.reached, measured.accuracy, measured.sent) == (4, None, None, 1000)


@pytest.mark.usefixtures("wire")
def test_training_ends_at_the_first_evaluation_that_reaches_the_target() -> None:
    measured = bench_links_worker.measure(Learner(), task(target=0.5))
    assert (len(measured.seconds), measured.reached, measured.accuracy, measured.sent) == (6, 6, 0.6, 3000)


@pytest.mark.usefixtures("wire")
def test_training_ends_short_of_the_target_when_anyone_is_over_the_limit() -> None:
    measured = bench_links_worker.measure(Learner(over=True), task(target=0.5))
    assert (len(measured.seconds), measured.reached, measured.accuracy) == (2, None, 0.2)


def row(seconds: Sequence[float], reached: int | None, needed: int | None = None) -> links.Row:
    measured = [Measured(seconds=list(seconds), sent=9000, reached=reached, accuracy=None)] * 2
    return links.summarised(FP32, ranks=2, link="100mbit", batch=64, measured=measured, needed=needed)


def test_the_compiling_first_step_counts_as_a_mean_one() -> None:
    counted = row([100.0] + [2.0] * 9, reached=10)
    assert (counted["step_ms"], counted["steps_to_target"], counted["seconds_to_target"]) == (2000.0, 10, 20.0)
    assert (counted["samples_per_second"], counted["KB_sent_a_step"], counted["extrapolated"]) == (64.0, 1.0, False)


def test_an_extrapolated_row_says_so() -> None:
    counted = row([100.0] + [2.0] * 9, reached=None, needed=300)
    assert (counted["steps_to_target"], counted["seconds_to_target"], counted["extrapolated"]) == (300, 600.0, True)


def test_a_target_that_was_not_reached_has_no_time() -> None:
    counted = row([100.0] + [2.0] * 9, reached=None)
    assert (counted["steps_to_target"], counted["seconds_to_target"], counted["extrapolated"]) == (None, None, False)


def test_only_dense_rows_on_shaped_links_are_extrapolated() -> None:
    shortened = {
        (column, link) for column in STRATEGIES for link in links.LINKS
        if links.is_extrapolated(column, link, False)
    }  # fmt: skip
    assert shortened == {(column, link) for column in (FP32, FP16) for link in links.LINKS[1:]}
    assert not links.is_extrapolated(FP32, "100mbit", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rates", "100mbit"], "dense rows on shaped links need the steps of --rates none; add it, or use --full"),
        (["--every", "5"], "--steps must be >= 1 and --every > 5, the steps of the warm-up"),
        (["--every", "19"], "--every must be a multiple of the 4 steps of a round, got 19"),
        (["--batch", "6"], "--batch is divided among the processes, got 6; use a multiple of 4"),
        (["--threads", "0"], "--threads must be >= 1, got 0"),
    ],
)
def test_arguments_that_cannot_work_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        links.parse(words)
    assert message in capsys.readouterr().err


def test_sharing_alone_needs_no_unshaped_link() -> None:
    assert links.parse(["--rates", "100mbit", "--columns", SHARING]).rates == ["100mbit"]
    assert links.parse(["--rates", "100mbit", "--full"]).full


def test_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="bench_links: network namespaces need root; run it with sudo"):
        links.check_machine()


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(SystemExit, match="ip and tc not found; type: apt-get install iproute2"):
        links.check_machine()


def test_a_signal_waits_for_the_clean_up() -> None:
    done = []
    with signals_raise(), pytest.raises(Stopped), undisturbed():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("cleaned")
    assert done == ["cleaned"]
