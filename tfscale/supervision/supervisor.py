"""Trains a run to its end, whatever happens to its processes on the way.

When a process dies, hangs or is frozen, or a message arrives damaged, all are ended and the job is started again after
its last checkpoint; it ends in the bits it would have had, as replicas are logical, and what depends on the number of
processes that hold them (sums of an allreduce) is what `strategy.reproducible` is for. What the code of the user raises
is not tried again: it would be raised again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tfscale.checkpoint.folder import newest_complete
from tfscale.checkpoint.format import step_of
from tfscale.runs.events import EventLog
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt, Job, LaunchResult
from tfscale.supervision.signals import Stopped, signals_raise
from tfscale.terminal import say

FRUITLESS = 2
"""Restarts without a new checkpoint after which there is one process less, down to `launch.min_np`."""

MAX_DEADLINE_DOUBLINGS = 5
"""Hangs without a new checkpoint after which works get no more time: each has doubled it, as none may have been one.

They get it until the job is past the step at which it seemed to hang: it has then been seen how long that takes."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds before a start, once two have ended without a new checkpoint; they double with each, up to the longest."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When a job is started again.

    Attributes:
        max_restarts: How often without a new checkpoint in between.
        min_np: With how many processes at least.
        watches: Whether a job that hangs is one to start again.
    """

    max_restarts: int
    min_np: int
    watches: bool


@final
class Supervisor:
    """Starts a job, and starts it again.

    Args:
        job: Makes one start of it.
        directory: Of the run, which this process has locked.
        policy: When to start again.
    """

    def __init__(self, job: Callable[[Attempt], Job], *, directory: RunDirectory, policy: Policy) -> None:
        self._job, self._directory, self._policy = job, directory, policy
        self._events = EventLog(directory.events)
        self._ended: float | None = None
        self._had_ended = directory.ended_after()

    def run(self, processes: int) -> int:
        """Trains with so many processes at first; returns the exit code, whose reason has been printed."""
        with signals_raise():
            try:
                return self._run(processes)
            except Stopped as stopped:  # between two starts
                words = self._directory.describe_stop(stopped.name)
                self._events.note("end", code=stopped.exit_code, cause=words, step=None)
                say(words)
                return stopped.exit_code

    def _run(self, processes: int) -> int:
        restarts = fruitless = hangs = hung_at = 0
        while True:
            before = self._newest()
            deadline_scale = 2.0**hangs if self._policy.watches else None
            end = self._once(restarts, processes, deadline_scale=deadline_scale, scaled_until=hung_at)
            if end.cause is None:
                return 0
            after = self._newest()
            if after != before:
                fruitless = hangs = hung_at = 0
            if not end.retryable or fruitless >= self._policy.max_restarts:
                more = f" {self._how_often(restarts)}" if restarts else ""
                say(f"{end.cause}{more}")
                return end.code
            if end.hung:
                hangs, hung_at = min(hangs + 1, MAX_DEADLINE_DOUBLINGS), max(hung_at, end.step or 0)
            fruitless += 1
            if fruitless > FRUITLESS and processes > self._policy.min_np:
                processes -= 1
            restarts += 1
            where = "from the beginning" if after is None else f"after {after.name}"
            say(f"{end.cause}; starting again {where}, {processes} process(es)")
            time.sleep(_pause(fruitless))

    def _newest(self) -> Path | None:
        return newest_complete(self._directory.checkpoints)

    def _once(self, restarts: int, processes: int, *, deadline_scale: float | None, scaled_until: int) -> LaunchResult:
        self._directory.clear_failures()
        newest = self._newest()
        attempt = Attempt(
            processes=processes,
            after=0 if newest is None else step_of(newest),
            restarts=restarts,
            ended=self._had_ended,
            deadline_scale=deadline_scale,
            scaled_until=scaled_until,
            started=lambda pids: self._events.note(
                "start", restarts=restarts, processes=pids, checkpoint=None if newest is None else newest.name
            ),
            trains=self._trains,
        )
        end = self._job(attempt).run()
        self._ended = time.time()
        self._events.note("end", code=end.code, cause=end.cause, step=end.step)
        return end

    def _trains(self, step: int) -> None:
        lost = {} if self._ended is None else {"seconds_lost": round(time.time() - self._ended, 3)}
        self._events.note("training", step=step, **lost)

    def _how_often(self, restarts: int) -> str:
        return f"(started again {restarts} time(s); launch.max_restarts={self._policy.max_restarts})"


def _pause(fruitless: int) -> float:
    """Seconds before the next start, after so many without a new checkpoint; the first does not wait."""
    return 0.0 if fruitless < 2 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(fruitless - 2, 10))
