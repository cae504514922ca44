"""Timeline of a rank: seconds of each phase, in windows of wall time; every rank writes its own file.

The loop already reports each phase that begins to the heartbeat; this class stands before the heartbeat and adds the
durations up, for every strategy alike. The first line of a start has the date, each further one a window of at least
MIN_WINDOW seconds and OF_ELAPSED of the time since the start: a run of an hour has about 1,200 windows, one of ten
hours 1,700. Figures of the strategy in milliseconds (encode, exchange, decode) are parts of the phase `a step`.

Lines of repeated steps stay after a restart: the time was spent. What a killed rank has not written is lost, at most
the windows since its last log record.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from tfscale.supervision.phase import Phase
from tfscale.tracking.base import Kind, Record, RunInfo

MIN_WINDOW = 0.1
"""Seconds of a window, at least."""

OF_ELAPSED = 1 / 200
"""Length of a window, divided by the time since the start."""


@dataclass
class _Window:
    """Times between two moments; `last` is None while it is open."""

    began: float
    first: int
    length: float = 0.0
    last: int | None = None
    phases: dict[Phase, float] = field(default_factory=lambda: defaultdict(float))
    within: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def line(self, origin: float) -> str:
        """The window as JSON; times in seconds, `at` since the start."""
        document = {
            "at": round(self.began - origin, 4),
            "length": round(self.length, 4),
            "steps": [self.first, self.last],
            "phases": {phase.value: round(seconds, 6) for phase, seconds in self.phases.items()},
            "within": {name: round(seconds, 6) for name, seconds in self.within.items()},
        }
        return json.dumps(document)


@final
class Timeline:
    """Stands between the loop and the heartbeat, and is a tracker, which gets the figures of each step.

    Args:
        path: The file; its folder is made.
        heartbeat: Called with each phase that begins, and the steps completed.
        clock: Seconds that never go back.
    """

    def __init__(
        self, path: Path, heartbeat: Callable[[Phase, int], None], *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._path, self._heartbeat, self._clock = path, heartbeat, clock
        self._date, self._origin = time.time(), clock()
        self._phase, self._since = Phase.STARTING, self._origin
        self._windows = [_Window(began=self._origin, first=0)]
        self._step, self._receiving = 0, 0
        self._figures: tuple[str, ...] = ()

    def __call__(self, phase: Phase, step: int) -> None:
        """Reports the begin of a phase, with `step` optimizer steps completed."""
        self._heartbeat(phase, step)
        self._step = step
        now, window = self._clock(), self._windows[-1]
        window.phases[self._phase] += now - self._since
        self._phase, self._since = phase, now
        if now - window.began >= max(MIN_WINDOW, OF_ELAPSED * (now - self._origin)):
            self._close(now)

    def _close(self, now: float) -> None:
        window = self._windows[-1]
        window.length, window.last = now - window.began, self._step
        self._windows.append(_Window(began=now, first=self._step))

    def start(self, run: RunInfo) -> None:
        """Appends the line of this start: its date, and the labels of the strategy's times."""
        times = {name: each.label for name, each in run.measurements.items() if each.unit == "ms"}
        self._figures, self._step = tuple(times), run.start
        self._windows[-1].first = run.start
        self._path.parent.mkdir(exist_ok=True)
        self._append(json.dumps({"began": round(self._date, 3), "start": run.start, "labels": times}))

    def progress(self, step: int) -> None:
        """Does nothing."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Adds a step's times to its window, or writes the windows that are complete."""
        if kind is Kind.STEP and self._figures:
            window = self._window_of(step)
            for name in self._figures:
                window.within[name] += float(values.get(name, 0.0)) / 1e3
        elif kind is Kind.TRAIN:
            self._write()

    def _window_of(self, step: int) -> _Window:
        """Returns the window in which a step was completed; steps come in order."""
        while (last := self._windows[self._receiving].last) is not None and step > last:
            self._receiving += 1
        return self._windows[self._receiving]

    def message(self, step: int, text: str) -> None:
        """Does nothing."""

    def summary(self, results: Mapping[str, Any]) -> None:
        """Does nothing."""

    def artifact(self, path: Path) -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Closes the last window and writes what is left."""
        now, window = self._clock(), self._windows[-1]
        window.phases[self._phase] += now - self._since
        self._since = now
        self._close(now)
        self._write()

    def _write(self) -> None:
        done = self._windows[:-1]
        if done:
            self._append("\n".join(window.line(self._origin) for window in done))
        self._windows, self._receiving = self._windows[-1:], 0

    def _append(self, text: str) -> None:
        with suppress(OSError), self._path.open("a", encoding="utf-8") as stream:  # a full disk does not end a run
            stream.write(f"{text}\n")
