"""A tracker in a thread of its own: a slow server does not slow down training, and one that is gone does not stop it.

Whatever happens to the tracker, the run prints one warning and goes on. What the tracker has not got by then it can
take from metrics.jsonl when the run is started again (`RunInfo.earlier`).
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, final

from tfscale.errors import UserError, first_line
from tfscale.tracking.base import Kind, Record, RunInfo, Tracker

TIMEOUT = 60.0
"""Seconds that a call may take, of a tracker that does not say."""

_POLL = 0.05


@final
class Background:
    """Passes every call to a tracker, in order, and returns at once, but for `start` and `finish`.

    Args:
        name: Of the tracker, for messages.
        tracker: What is called.
        timeout: Seconds that `start` may take, and any call that is left when the run ends.
        warn: Takes the warning.
    """

    def __init__(self, name: str, tracker: Tracker, *, timeout: float, warn: Callable[[str], None]) -> None:
        self._name, self._tracker, self._timeout, self._warn = name, tracker, timeout, warn
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock, self._lost = Lock(), False
        self._refusal: UserError | None = None
        self._done, self._asked, self._began = 0, 0, time.monotonic()
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._began = time.monotonic()
            if not self._lost:
                try:
                    call()
                except UserError as error:
                    self._refusal = error
                    self._lose(first_line(error))
                except Exception as error:  # noqa: BLE001 - whatever a tracker dies of, the run goes on
                    self._lose(f"{type(error).__name__}: {first_line(error)}")
            self._done += 1

    def _lose(self, reason: str) -> None:
        """Gives the tracker up, and says so once; a refusal at the start is raised instead."""
        with self._lock:
            if self._lost:
                return
            self._lost = True
        if self._refusal is None or self._done:
            self._warn(f"tracker.{self._name} gets no more records, and the run goes on: {reason[:200]}")

    def _call(self, call: Callable[[], None]) -> None:
        if not self._lost:
            self._asked += 1
            self._calls.put(call)

    def _wait(self) -> None:
        """Waits for all calls; gives the tracker up if one of them takes longer than the timeout."""
        self._began = time.monotonic()
        while self._done < self._asked and self._thread.is_alive():
            if time.monotonic() - self._began > self._timeout:
                self._lose(f"it has not answered for {self._timeout:g} s")
                return
            time.sleep(_POLL)

    def start(self, run: RunInfo) -> None:
        """Starts the thread and the tracker.

        Raises:
            UserError: The tracker cannot be used as configured.
        """
        self._thread.start()
        self._call(lambda: self._tracker.start(run))
        self._wait()
        if self._refusal is not None:
            raise self._refusal

    def progress(self, step: int) -> None:
        """Does nothing: these trackers need no call at every step."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """See `base.Tracker`."""
        self._call(lambda: self._tracker.log(kind, step, values))

    def message(self, step: int, text: str) -> None:
        """See `base.Tracker`."""
        self._call(lambda: self._tracker.message(step, text))

    def summary(self, results: Mapping[str, Any]) -> None:
        """See `base.Tracker`."""
        self._call(lambda: self._tracker.summary(results))

    def artifact(self, path: Path) -> None:
        """See `base.Tracker`."""
        self._call(lambda: self._tracker.artifact(path))

    def finish(self) -> None:
        """Waits until the tracker has got everything; a call that takes longer than the timeout ends the wait."""
        if self._lost or not self._thread.is_alive():
            return
        self._call(self._tracker.finish)
        self._wait()
        self._calls.put(None)
