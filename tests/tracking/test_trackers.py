"""A tracker may fail; it never stops a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tfscale.errors import UserError
from tfscale.tracking.base import Kind, Record, RunInfo
from tfscale.tracking.trackers import Trackers

RUN = RunInfo(name="one", folder=Path("runs/one"), config={"seed": 1}, start=0, steps=10, processes=1)


class Noting:
    """Notes its calls; fails in one of them."""

    def __init__(self, fails_in: str = "", error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self._fails_in, self._error = fails_in, error or OSError("the server is gone")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self._fails_in:
            raise self._error

    def start(self, run: RunInfo) -> None:
        assert run is RUN
        self._called("start")

    def progress(self, step: int) -> None:
        self._called("progress")

    def log(self, kind: Kind, step: int, values: Record) -> None:
        self._called("log")

    def message(self, step: int, text: str) -> None:
        self._called("message")

    def summary(self, results: Mapping[str, Any]) -> None:
        self._called("summary")

    def artifact(self, path: Path) -> None:
        self._called("artifact")

    def finish(self) -> None:
        self._called("finish")


ALL = ["start", "progress", "log", "message", "summary", "artifact", "finish"]


def call_all(trackers: Trackers) -> None:
    trackers.start(RUN)
    trackers.progress(1)
    trackers.log(Kind.STEP, 1, {"loss": 1.0})
    trackers.message(1, "so")
    trackers.summary({"steps": 1})
    trackers.artifact(Path("a.png"))
    trackers.finish()
    trackers.finish()


@pytest.mark.parametrize("method", ALL)
def test_a_tracker_that_fails_is_left_out_with_one_warning(method: str) -> None:
    bad, good = Noting(method), Noting()
    warnings: list[str] = []
    call_all(Trackers([bad, good], warn=warnings.append))
    assert good.calls == ALL
    assert bad.calls == ALL[: ALL.index(method) + 1]
    assert warnings == ["Noting failed and gets no more records: the server is gone"]


def test_a_tracker_that_cannot_be_used_as_configured_stops_the_run_before_it_begins() -> None:
    trackers = Trackers([Noting("start", UserError("install it"))], warn=print)
    with pytest.raises(UserError, match="install it"):
        trackers.start(RUN)
