"""A tracker in a thread of its own: in order, without waiting, with one warning whatever happens."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tfscale.errors import UserError
from tfscale.tracking.background import Background
from tfscale.tracking.base import Kind, Record, RunInfo

RUN = RunInfo(name="one", folder=Path("runs/one"), config={}, start=0, steps=10, processes=1)


class Slow:
    """Notes its calls; waits in one of them until it is let go, or raises there."""

    def __init__(self, where: str = "", error: Exception | None = None) -> None:
        self.calls: list[object] = []
        self.go = threading.Event()
        self._where, self._error = where, error

    def _called(self, name: str, *values: object) -> None:
        if name == self._where:
            if self._error is not None:
                raise self._error
            self.go.wait(60)
        self.calls.append((name, *values) if values else name)

    def start(self, run: RunInfo) -> None:
        self._called("start")

    def progress(self, step: int) -> None:
        raise AssertionError("it would be called at every step")

    def log(self, kind: Kind, step: int, values: Record) -> None:
        self._called("log", kind.value, step)

    def message(self, step: int, text: str) -> None:
        self._called("message")

    def summary(self, results: Mapping[str, Any]) -> None:
        self._called("summary")

    def artifact(self, path: Path) -> None:
        self._called("artifact")

    def finish(self) -> None:
        self._called("finish")


def background(tracker: Slow, warnings: list[str], timeout: float = 60) -> Background:
    return Background("mine", tracker, timeout=timeout, warn=warnings.append)


def call_all(tracker: Background) -> None:
    tracker.start(RUN)
    tracker.progress(1)
    tracker.log(Kind.TRAIN, 1, {"loss": 1.0})
    tracker.message(1, "so")
    tracker.summary({"steps": 1})
    tracker.artifact(Path("a.png"))
    tracker.finish()


ALL = ["start", ("log", "train", 1), "message", "summary", "artifact", "finish"]


def test_a_tracker_gets_all_calls_in_order_before_the_end() -> None:
    tracker, warnings = Slow(), []
    call_all(background(tracker, warnings))
    assert tracker.calls == ALL
    assert not warnings


def test_training_does_not_wait_for_a_slow_tracker() -> None:
    tracker, warnings = Slow("log"), []
    whole = background(tracker, warnings)
    whole.start(RUN)
    for step in range(100):
        whole.log(Kind.TRAIN, step, {"loss": 1.0})
    assert tracker.calls == ["start"]
    tracker.go.set()
    whole.finish()
    assert tracker.calls == ["start", *(("log", "train", step) for step in range(100)), "finish"]
    assert not warnings


@pytest.mark.parametrize("where", ["start", "log", "message", "summary", "artifact", "finish"])
def test_a_tracker_that_never_answers_is_given_up_with_one_warning(where: str) -> None:
    tracker, warnings = Slow(where), []
    call_all(background(tracker, warnings, timeout=0.2))
    assert warnings == ["tracker.mine gets no more records, and the run goes on: it has not answered for 0.2 s"]
    tracker.go.set()


@pytest.mark.parametrize("where", ["start", "log", "message", "summary", "artifact", "finish"])
def test_a_tracker_that_fails_is_given_up_with_one_warning(where: str) -> None:
    tracker, warnings = Slow(where, ConnectionError("it is gone\nmore")), []
    call_all(background(tracker, warnings))
    assert warnings == ["tracker.mine gets no more records, and the run goes on: ConnectionError: it is gone"]
    assert len(tracker.calls) < len(ALL)


def test_a_tracker_that_cannot_be_used_as_configured_ends_the_run_before_it_begins() -> None:
    warnings: list[str] = []
    with pytest.raises(UserError, match="log in first"):
        background(Slow("start", UserError("log in first")), warnings).start(RUN)
    assert not warnings
