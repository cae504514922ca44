"""Timelines of ranks: every second is in one phase of one window, and a long run has few windows."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_commands import forked
from tfscale.supervision.phase import Phase
from tfscale.tracking.base import Kind, Measurement, RunInfo
from tfscale.training.timeline import Timeline

ENCODE = {"encode_ms": Measurement(label="encode", unit="ms"), "density": Measurement(label="density")}


class Clock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def info(folder: Path, start: int = 0) -> RunInfo:
    return RunInfo(name="x", folder=folder, config={}, start=start, steps=9, processes=1, measurements=ENCODE)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def nothing(phase: Phase, step: int) -> None:
    pass


def test_every_second_is_in_one_phase_and_every_step_in_one_window(tmp_path: Path) -> None:
    clock, seen = Clock(), []
    timeline = Timeline(tmp_path / "timeline" / "rank-0.jsonl", lambda *phase: seen.append(phase), clock=clock)
    timeline.start(info(tmp_path))
    for step in range(50):
        timeline(Phase.DATA, step)
        clock.now += 0.01
        timeline(Phase.STEP, step)
        clock.now += 0.03
    timeline(Phase.LOGGING, 50)
    for step in range(1, 51):
        timeline.log(Kind.STEP, step, {"encode_ms": 2.0, "density": 7.0})
    timeline.log(Kind.TRAIN, 50, {"loss": 1.0})
    clock.now += 0.5
    timeline.finish()
    start, *windows = lines(tmp_path / "timeline" / "rank-0.jsonl")
    assert start["labels"] == {"encode_ms": "encode"}
    sums = {name: sum(each["phases"].get(name, 0) for each in windows) for name in ("waiting for data", "a step")}
    assert sums == pytest.approx({"waiting for data": 0.5, "a step": 1.5})
    assert sum(each["length"] for each in windows) == pytest.approx(2.5)
    assert windows[-1]["phases"]["logging"] == pytest.approx(0.5)
    assert windows[0]["steps"][0] == 0 and windows[-1]["steps"][1] == 50
    assert all(one["steps"][1] == two["steps"][0] for one, two in pairwise(windows))
    for each in windows:
        assert each["within"].get("encode_ms", 0) == pytest.approx(0.002 * (each["steps"][1] - each["steps"][0]))
    assert seen[:2] == [(Phase.DATA, 0), (Phase.STEP, 0)]


def test_a_run_of_ten_hours_has_few_windows(tmp_path: Path) -> None:
    clock = Clock()
    timeline = Timeline(tmp_path / "timeline" / "rank-0.jsonl", nothing, clock=clock)
    timeline.start(info(tmp_path))
    for step in range(36_000):
        timeline(Phase.STEP, step)
        clock.now += 1.0
        if step % 1000 == 0:
            timeline.log(Kind.TRAIN, step, {})
    timeline.finish()
    assert 1000 < len(lines(tmp_path / "timeline" / "rank-0.jsonl")) < 2500


def test_a_full_disk_and_a_second_start_are_survived(tmp_path: Path) -> None:
    path = tmp_path / "timeline" / "rank-0.jsonl"
    for start in (0, 40):
        timeline = Timeline(path, nothing)
        timeline.start(info(tmp_path, start))
        timeline(Phase.DATA, start)
        timeline.finish()
    found = lines(path)
    assert [each["start"] for each in found if "start" in each] == [0, 40]
    assert found[-1]["steps"] == [40, 40]
    path.unlink()
    path.mkdir()  # opening it fails as on a full disk
    timeline.log(Kind.TRAIN, 1, {})
    timeline.finish()


@pytest.mark.horovod
@pytest.mark.parametrize("strategy", ["local", pytest.param("horovod", marks=pytest.mark.slow)])
def test_every_rank_of_a_run_leaves_a_timeline(tmp_path: Path, strategy: str) -> None:
    ranks = 1 if strategy == "local" else 2
    words = ["train", f"strategy={strategy}", f"launch.np={ranks}", f"run.dir={tmp_path}", "run.name=x"]
    done = forked().completed([*words, "train.steps=20"], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    for rank in range(ranks):
        start, *windows = lines(tmp_path / "x" / "timeline" / f"rank-{rank}.jsonl")
        assert start["start"] == 0
        assert {"waiting for data", "a step"} <= {name for each in windows for name in each["phases"]}
        assert windows[-1]["steps"][1] == 20
    assert json.loads((tmp_path / "x" / "summary.json").read_text())["directions"]["accuracy"] == "max"
    assert json.loads((tmp_path / "x" / "figures.json").read_text()) == {}
