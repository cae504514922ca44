"""metrics.jsonl and summary.json: valid JSON whatever the numbers, and no step twice."""

import json
from pathlib import Path

import pytest

from tfscale.runs import summary
from tfscale.tracking.base import Kind, RunInfo
from tfscale.tracking.jsonl import JsonlTracker


def started(path: Path, *, start: int = 0) -> JsonlTracker:
    """The tracker of a run that goes on after `start` steps."""
    tracker = JsonlTracker(path)
    tracker.start(RunInfo(name="one", folder=path.parent, config={}, start=start, steps=100, processes=1))
    return tracker


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_resumed_run_does_not_record_a_step_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = started(path)
    for step in (10, 20, 30):
        first.log(Kind.TRAIN, step, {"loss": 1.0})
    first.finish()
    with path.open("a") as stream:
        stream.write('{"kind": "train", "st')
    second = started(path, start=20)
    second.log(Kind.VALIDATION, 40, {"loss": 0.5})
    second.finish()
    assert steps(path) == [10, 20, 40]


def test_steps_tensors_and_remarks_are_told_apart(tmp_path: Path) -> None:
    tracker = started(tmp_path / "m.jsonl")
    for step, loss in ((1, 2.0), (2, 1.0)):
        tracker.log(Kind.STEP, step, {"loss": loss})
    tracker.log(Kind.TENSOR, 2, {"name": "dense/kernel", "density": 0.5})
    tracker.message(2, "an allreduce takes over")
    tracker.finish()
    records = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in records] == ["step", "step", "tensor", "remark"]
    assert records[2] == {"kind": "tensor", "step": 2, "name": "dense/kernel", "density": 0.5}
    assert records[3]["words"] == "an allreduce takes over"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_null(tmp_path: Path, value: float) -> None:
    tracker = started(tmp_path / "m.jsonl")
    tracker.log(Kind.TRAIN, 1, {"loss": value})
    tracker.finish()
    assert json.loads((tmp_path / "m.jsonl").read_text())["loss"] is None
    summary.write({"loss": value, "steps": 1}, tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == {"loss": None, "steps": 1}
