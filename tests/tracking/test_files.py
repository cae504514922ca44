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


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def killed(path: Path, losses: dict[int, float]) -> None:
    """Leaves the file of a run with a checkpoint at step 2 that was killed after step 4."""
    tracker = started(path)
    for step, loss in losses.items():
        tracker.log(Kind.STEP, step, {"loss": loss, "seconds": 1.0})
    for step in (2, 4):
        tracker.log(Kind.TRAIN, step, {"loss": losses[step], "samples_per_second": 7.0})
    tracker.finish()


def test_a_repeated_step_keeps_the_figures_of_its_first_time(tmp_path: Path) -> None:
    """Its speed differs, and what other trackers were told at the first time would no more be what the file says."""
    path = tmp_path / "metrics.jsonl"
    losses = {1: 4.0, 2: 3.0, 3: float("nan"), 4: 1.0}
    killed(path, losses)
    before = path.read_text()
    again = started(path, start=2)
    for step in (3, 4):
        values = again.first(Kind.STEP, step, {"loss": losses[step], "seconds": 9.0})
        assert values["seconds"] == 1.0
        again.log(Kind.STEP, step, values)
    assert again.first(Kind.TRAIN, 4, {"loss": 1.0, "samples_per_second": 8.0})["samples_per_second"] == 7.0
    again.log(Kind.TRAIN, 4, {"loss": 1.0, "samples_per_second": 7.0})
    assert path.read_text() == before
    again.log(Kind.TRAIN, 6, {"loss": 0.5, "samples_per_second": 8.0})
    again.finish()
    assert path.read_text().startswith(before) and len(records(path)) == 7


def test_a_second_kill_before_the_repeated_steps_came_again_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    killed(path, {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0})
    before = path.read_text()
    second = started(path, start=2)
    second.log(Kind.STEP, 3, {"loss": 2.0, "seconds": 1.0})
    second.finish()
    third = started(path, start=2)
    assert third.first(Kind.TRAIN, 4, {"loss": 1.0, "samples_per_second": 8.0})["samples_per_second"] == 7.0
    third.finish()
    assert path.read_text() == before


def test_a_run_that_does_not_repeat_itself_takes_the_place_of_what_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    killed(path, {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0})
    again = started(path, start=2)
    for kind, step, values in (
        (Kind.STEP, 3, {"loss": 2.5, "seconds": 9.0}),
        (Kind.STEP, 4, {"loss": 1.5, "seconds": 9.0}),
        (Kind.TRAIN, 4, {"loss": 2.0, "samples_per_second": 8.0}),
    ):
        assert again.first(kind, step, values) == values
        again.log(kind, step, values)
    again.finish()
    told = [(record["kind"], record["step"], record["loss"]) for record in records(path)]
    assert told == [
        *(("step", 1, 4.0), ("step", 2, 3.0), ("train", 2, 3.0)),
        *(("step", 3, 2.5), ("step", 4, 1.5), ("train", 4, 2.0)),
    ]


def test_steps_after_an_earlier_end_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    killed(path, {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0})
    again = started(path, start=2)
    again.log(Kind.STEP, 3, {"loss": 2.0, "seconds": 1.0})
    again.summary({"steps": 3})
    again.finish()
    assert max(steps(path)) == 3
