"""A tracker in a thread of its own: in order, without waiting, with one warning whatever happens."""

import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tfscale.errors import UserError
from tfscale.tracking.background import Background
from tfscale.tracking.base import Kind, Record, RunInfo

RUN = RunInfo(name="one", folder=Path("runs/one"), config={}, start=0, steps=10, processes=1)


class Slow:
    """Notes its calls; waits in one of them until it is let go, or raises there."""

    kinds = (Kind.TRAIN,)

    def __init__(self, where: str = "", error: Exception | None = None, timeout: float = 60) -> None:
        self.calls: list[object] = []
        self.go = threading.Event()
        self._where, self._error, self.timeout = where, error, timeout

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


def background(tracker: Slow, warnings: list[str]) -> Background:
    return Background("mine", tracker, warn=warnings.append)


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
    tracker, warnings = Slow(where, timeout=0.2), []
    call_all(background(tracker, warnings))
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


def test_a_run_that_goes_on_is_not_refused() -> None:
    """A login that expires during a run of days ended the run at its next restart."""
    warnings: list[str] = []
    tracker = background(Slow("start", UserError("log in first")), warnings)
    tracker.start(replace(RUN, is_new=False))
    tracker.finish()
    assert warnings == ["tracker.mine gets no more records, and the run goes on: log in first"]


class Values(dict[str, float | str]):
    """A record that can be watched."""


def test_a_tracker_that_hangs_during_training_is_dropped_with_its_queue() -> None:
    """It was noticed at the end only, and the queue grew until then."""
    tracker, warnings = Slow("log", timeout=0.2), []
    whole = background(tracker, warnings)
    whole.start(RUN)
    whole.log(Kind.TRAIN, 1, {"loss": 1.0})
    values = Values(loss=2.0)
    queued = weakref.ref(values)
    whole.log(Kind.TRAIN, 2, values)
    del values
    assert queued() is not None
    for step in range(3, 1000):
        whole.progress(step)
        if warnings:
            break
        time.sleep(0.01)
    assert warnings == ["tracker.mine gets no more records, and the run goes on: it has not answered for 0.2 s"]
    assert queued() is None
    whole.log(Kind.TRAIN, 3, {"loss": 1.0})
    whole.finish()
    assert tracker.calls == ["start"]
    assert len(warnings) == 1
    tracker.go.set()


def test_a_tracker_gets_the_kinds_that_it_wants() -> None:
    tracker, warnings = Slow(), []
    whole = background(tracker, warnings)
    whole.start(RUN)
    for kind in Kind:
        whole.log(kind, 1, {"loss": 1.0})
    whole.finish()
    assert tracker.calls == ["start", ("log", "train", 1), "finish"]


class Thorough(Slow):
    """Has a long start, of many short requests or of many earlier records."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__(timeout=0.5)
        self._reads = reads

    def start(self, run: RunInfo) -> None:
        for _ in run.earlier() if self._reads else range(20):
            time.sleep(0.05)
            if not self._reads:
                run.answered()
        self.calls.append("start")


@pytest.mark.parametrize("reads", [True, False])
def test_the_timeout_counts_since_the_last_answer(reads: bool) -> None:
    """A run with a long history lost its tracker at a resume, although the server answered each request."""

    def earlier() -> Iterator[tuple[Kind, int, Record]]:
        yield from ((Kind.TRAIN, step, {"loss": 1.0}) for step in range(20))

    tracker, warnings = Thorough(reads=reads), []
    whole = background(tracker, warnings)
    whole.start(replace(RUN, earlier=earlier))
    whole.finish()
    assert tracker.calls == ["start", "finish"]
    assert not warnings
