"""Runs a job to its end: starts it, and restarts it from its newest checkpoint after a fault.

When a rank dies, hangs or is stopped by a signal, or receives a corrupt message, the launcher ends all ranks and the
supervisor starts the job again. A recovered run is bit-identical to an uninterrupted one, since replicas are logical;
results that depend on the number of processes (sums of an allreduce) need `strategy.reproducible`. An error in the
user's code is not retried: it would be raised again.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tfscale.checkpoint.folder import newest_complete
from tfscale.checkpoint.format import step_of
from tfscale.runs.events import EventLog
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt, Launcher, LaunchResult, Outcome
from tfscale.supervision.signals import Stopped, signals_raise
from tfscale.terminal import logger

RESTARTS_WITH_ALL = 2
"""Restarts without a new checkpoint after which each has one process less, down to `launch.min_np`."""

MAX_DEADLINE_DOUBLINGS = 5
"""Hangs without a new checkpoint that double the deadlines of the next start: the job may only have been slow.

The longer deadlines hold until the job is past the last step at which it seemed to hang."""

FIRST_BACKOFF, MAX_BACKOFF = 0.5, 4.0
"""Seconds before the third start without a new checkpoint, doubled for each after it, and their maximum."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Rules for restarts.

    Attributes:
        max_restarts: Maximal number without a new checkpoint.
        min_np: Minimal number of processes.
        watches: Whether a job that hangs is restarted.
    """

    max_restarts: int
    min_np: int
    watches: bool


@final
class Supervisor:
    """Starts a job, and restarts it.

    Args:
        launcher: Runs one start of the job.
        directory: Run directory, which this process has locked.
        policy: Rules for restarts.
    """

    def __init__(self, launcher: Launcher, *, directory: RunDirectory, policy: Policy) -> None:
        self._launcher, self._directory, self._policy = launcher, directory, policy
        self._events = EventLog(directory.events)
        self._last_end: float | None = None
        self._had_ended = directory.ended_after()

    def run(self, processes: int) -> int:
        """Trains with `processes` processes at first; returns the exit code, whose reason has been printed."""
        with signals_raise():
            try:
                return self._run(processes)
            except Stopped as stopped:  # between two starts
                message = self._directory.describe_stop(stopped.name)
                self._events.note("end", code=stopped.exit_code, cause=message, step=None)
                logger.info(message)
                return stopped.exit_code

    def _run(self, processes: int) -> int:
        restarts = without_progress = hangs = hung_at = 0
        while True:
            before = self._newest()
            deadline_scale = 2.0**hangs if self._policy.watches else None
            result = self._launch(restarts, processes, deadline_scale=deadline_scale, scaled_until=hung_at)
            if result.outcome is Outcome.DONE:
                return 0
            after = self._newest()
            if after != before:
                without_progress = hangs = hung_at = 0
            if not result.outcome.is_retryable or without_progress >= self._policy.max_restarts:
                more = f" {self._restart_count(restarts)}" if restarts else ""
                logger.error(f"{result.cause}{more}")
                return result.code
            if result.outcome is Outcome.HUNG:
                hangs, hung_at = min(hangs + 1, MAX_DEADLINE_DOUBLINGS), max(hung_at, result.step or 0)
            without_progress += 1
            if without_progress > RESTARTS_WITH_ALL and processes > self._policy.min_np:
                processes -= 1
            restarts += 1
            origin = "from the beginning" if after is None else f"after {after.name}"
            logger.warning(f"{result.cause}; starting again {origin}, {processes} process(es)")
            time.sleep(_backoff(without_progress))

    def _newest(self) -> Path | None:
        return newest_complete(self._directory.checkpoints)

    def _launch(
        self, restarts: int, processes: int, *, deadline_scale: float | None, scaled_until: int
    ) -> LaunchResult:
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
            trains=self._note_training,
        )
        result = self._launcher.run(attempt)
        self._last_end = time.time()
        self._events.note("end", code=result.code, cause=result.cause, step=result.step)
        return result

    def _note_training(self, step: int) -> None:
        lost = {} if self._last_end is None else {"seconds_lost": round(time.time() - self._last_end, 3)}
        self._events.note("training", step=step, **lost)

    def _restart_count(self, restarts: int) -> str:
        return f"(started again {restarts} time(s); launch.max_restarts={self._policy.max_restarts})"


def _backoff(without_progress: int) -> float:
    """Seconds before the next start, after so many without a new checkpoint; the first restart does not wait."""
    return 0.0 if without_progress < 2 else min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(without_progress - 2, 10))
