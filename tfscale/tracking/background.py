"""A tracker in a thread of its own: a slow server does not slow down training, and one that is gone does not stop it.

If the tracker fails or does not answer, the run prints one warning and goes on without it. The records that it lacks
are in metrics.jsonl; at the next start it finds them there (`RunInfo.earlier`). Only a run that begins is refused: a
login that has expired must not end a run of days.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, final

from tfscale.errors import UserError, first_line
from tfscale.tracking.base import Kind, Record, RunInfo, Subscriber

_POLL = 0.05


@final
class Background:
    """Passes calls to a tracker, in order, and returns at once, except from `start` and `finish`.

    Every call checks how long the tracker has not answered, so a tracker that hangs is dropped during training, with
    all that is queued for it.

    Args:
        name: Of the tracker, for messages.
        tracker: What is called.
        warn: Takes the warning.
    """

    def __init__(self, name: str, tracker: Subscriber, *, warn: Callable[[str], None]) -> None:
        self._name, self._tracker, self._warn = name, tracker, warn
        self._kinds, self._timeout = frozenset(tracker.kinds), tracker.timeout
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock, self._lost = Lock(), False
        self._refusal: UserError | None = None
        self._can_refuse = False
        self._done, self._asked, self._heard = 0, 0, time.monotonic()
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except UserError as error:
                if self._can_refuse and not self._done:
                    self._refusal = error
                self._lose(first_line(error))
            except Exception as error:  # noqa: BLE001 - whatever a tracker dies of, the run goes on
                self._lose(f"{type(error).__name__}: {first_line(error)}")
            self._answered()
            self._done += 1

    def _answered(self) -> None:
        self._heard = time.monotonic()

    def _lose(self, reason: str) -> None:
        """Drops the tracker and its queue, and warns once; a refusal is raised by `start` instead."""
        with self._lock:
            if self._lost:
                return
            self._lost = True
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        self._calls.put(None)
        if self._refusal is None:
            self._warn(f"tracker.{self._name} gets no more records, and the run goes on: {reason[:200]}")

    def _check(self) -> None:
        """Drops the tracker if a call is pending and the last answer is too long ago."""
        if self._done < self._asked and not self._lost and time.monotonic() - self._heard > self._timeout:
            self._lose(f"it has not answered for {self._timeout:g} s")

    def _call(self, call: Callable[[], None]) -> None:
        self._check()
        if not self._lost:
            if self._done == self._asked:  # idle until now
                self._answered()
            self._asked += 1
            self._calls.put(call)

    def _wait(self) -> None:
        """Waits for all calls, or until the tracker is dropped."""
        while self._done < self._asked and not self._lost and self._thread.is_alive():
            time.sleep(_POLL)
            self._check()

    def start(self, run: RunInfo) -> None:
        """Starts the thread and the tracker.

        Raises:
            UserError: The run begins, and the tracker cannot be used as configured.
        """
        self._can_refuse = run.is_new
        heard = replace(run, answered=self._answered, earlier=lambda: self._counted(run.earlier()))
        self._thread.start()
        self._call(lambda: self._tracker.start(heard))
        self._wait()
        if self._refusal is not None:
            raise self._refusal

    def _counted(self, records: Iterable[tuple[Kind, int, Record]]) -> Iterator[tuple[Kind, int, Record]]:
        """Yields the records; a tracker that takes one is alive."""
        for each in records:
            self._answered()
            yield each

    def progress(self, step: int) -> None:
        """Checks the tracker, which needs no call at every step."""
        self._check()

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Passes the record if the tracker wants its kind."""
        if kind in self._kinds:
            self._call(lambda: self._tracker.log(kind, step, values))
        else:
            self._check()

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
        """Waits until the tracker has got everything, or is dropped."""
        if self._lost or not self._thread.is_alive():
            return
        self._call(self._tracker.finish)
        self._wait()
        self._calls.put(None)
