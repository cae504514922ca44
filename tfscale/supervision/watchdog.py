"""Detects that a job hangs, and names the rank and the line of Python that hold it up.

A rank in an exchange waits for the others, so no rank is blamed for being late alone: the job hangs when the deadlines
of all ranks have passed (see `heartbeat`), or when a process is stopped by a signal. All ranks are then asked for their
Python stacks, and the message names those that are not waiting for others. Clocks of other hosts differ from ours and
their heartbeats arrive late: for them, the time counts at which a heartbeat was first seen here.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision import heartbeat
from tfscale.supervision.attempt import Attempt, Outcome
from tfscale.supervision.heartbeat import MINUTES, HeartbeatRecord
from tfscale.supervision.phase import Phase

CHECK_INTERVAL = 0.25
"""Seconds between two checks."""

MAX_STOPPED = 2.0
"""Seconds for which a process may be stopped by a signal."""

STACK_WAIT = 0.3
"""Seconds for the ranks to write their stacks; each does so at once, or cannot."""

PAUSE = 1.5
"""Seconds between two checks that only a pause of the whole machine, or container, explains."""

AFTER_HANG = 120.0
"""Seconds that a wait for data may take in the start after one that seemed to hang, up to the step of that hang.

A slow batch is read again by every start: deadlines that double would kill it again and again."""

REMOTE_DELAY = 2.0
"""Seconds that a heartbeat of another host may arrive late."""


@dataclass(frozen=True)
class Hang:
    """Reason to restart a job that still runs.

    Attributes:
        message: For the user.
        outcome: HUNG if the job may only be slow, else RETRYABLE.
    """

    message: str
    outcome: Outcome


@final
class Watchdog:
    """Watches the processes of one start of a job.

    Args:
        attempt: The start; its `deadline_scale` and `scaled_until` apply, and its `trains` is called.
        directory: Run directory.
        pids: Process ids by rank; 0 for each that only its heartbeat knows.
    """

    def __init__(self, attempt: Attempt, directory: RunDirectory, pids: Sequence[int]) -> None:
        self._attempt, self._directory, self._pids = attempt, directory, pids
        self._after = attempt.after
        self._last_check = self._counts_from = time.monotonic()
        self._stopped_since: dict[int, float] = {}
        self._seen: list[float] = [self._counts_from] * len(pids)
        self.records: list[HeartbeatRecord | None] = [None] * len(pids)

    @property
    def step(self) -> int | None:
        """Optimizer steps that all ranks have completed; None if one of them has not begun."""
        steps = [record.step for record in self.records if record is not None and record.phase is not Phase.STARTING]
        return min(steps) if len(steps) == len(self._pids) else None

    def check(self) -> Hang | None:
        """Returns why the job must be restarted, if it must; does nothing if the last check is recent."""
        now = time.monotonic()
        if now < self._last_check + CHECK_INTERVAL:
            return None
        if now > self._last_check + PAUSE:
            self.restart_clocks()
        self._last_check = now
        self.read()
        if self._attempt.deadline_scale is None:
            return None
        return self._stopped_process(now) or self._hang(now, self._attempt.deadline_scale)

    def restart_clocks(self) -> None:
        """Gives every phase its whole time again, after a pause in which no rank could run."""
        self._counts_from = time.monotonic()
        self._stopped_since.clear()

    def read(self) -> None:
        """Reads all heartbeats, and reports once that the job trains.

        Call it after the processes have ended, too: they may have trained since the last check.
        """
        for rank, before in enumerate(self.records):
            record = heartbeat.read(self._directory.heartbeat(rank))
            if record is not None and record != before:
                self.records[rank] = record
                self._seen[rank] = record.began if record.here else time.monotonic() + REMOTE_DELAY
        step = self.step
        if step is not None and step > self._after:
            self._after = sys.maxsize  # report once
            self._attempt.trains(step)

    def _stopped_process(self, now: float) -> Hang | None:
        for rank in range(len(self._pids)):
            pid = self._pid(rank)
            if not (pid and _is_stopped(pid)):
                self._stopped_since.pop(rank, None)
            elif now - self._stopped_since.setdefault(rank, now) >= MAX_STOPPED:
                record = self.records[rank]
                after = "" if record is None else f" after step {record.step:,}"
                return Hang(f"rank {rank} (process {pid}) has been stopped (SIGSTOP){after}", Outcome.RETRYABLE)
        return None

    def _hang(self, now: float, deadline_scale: float) -> Hang | None:
        records = [record for record in self.records if record is not None]
        if len(records) < len(self._pids):
            if now <= self._counts_from + MINUTES:
                return None
            return Hang(f"rank {self.records.index(None)} has not begun to train in {MINUTES:.0f} s", Outcome.HUNG)
        is_past = self.step is not None and self.step > self._attempt.scaled_until
        scale = 1.0 if is_past else deadline_scale
        if all(self._is_late(rank, record, scale, now) for rank, record in enumerate(records)):
            return Hang(self._describe(records, now), Outcome.HUNG)
        return None

    def _pid(self, rank: int) -> int:
        """Process id of a rank; 0 if it is unknown, or of another machine."""
        record = self.records[rank]
        return self._pids[rank] or (record.pid if record is not None and record.here else 0)

    def _is_late(self, rank: int, record: HeartbeatRecord, scale: float, now: float) -> bool:
        allowed = scale * (record.deadline - record.began)
        if scale > 1.0 and record.phase.has_minutes_after_hang:
            allowed = max(allowed, AFTER_HANG)
        return now > max(self._seen[rank], self._counts_from) + allowed

    def _describe(self, records: Sequence[HeartbeatRecord], now: float) -> str:
        """Names the ranks that hold the job up, with the innermost line of their Python."""
        for pid in filter(None, map(self._pid, range(len(records)))):
            with suppress(OSError):
                os.kill(pid, signal.SIGUSR1)
        time.sleep(STACK_WAIT)
        fewest = min(record.step for record in records)
        behind = [rank for rank, record in enumerate(records) if record.step == fewest]
        blamed = [rank for rank in behind if not records[rank].phase.waits_for_others] or behind
        messages = []
        for rank in blamed:
            record, pid = records[rank], self._pid(rank)
            line = innermost(self._directory.stack(rank)) if pid else "on another host"
            messages.append(
                f"rank {rank} (process {pid or record.pid}) hangs after step {record.step:,}: {record.phase.value} for "
                f"{now - self._seen[rank]:.1f} s, {line}"
            )
        stacks = self._directory.logs / "rank-*.stack"
        return f"{'; '.join(messages)}. Stacks: {stacks}. If it is only slow, set launch.hang_timeout to more seconds"


def innermost(path: Path) -> str:
    """Innermost line of the main thread in a stack that `faulthandler` wrote, Python's import machinery excluded."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return "no Python stack"
    heads = [index for index, line in enumerate(lines) if line.startswith(("Current thread", "Thread"))]
    last = max(heads, default=-1)  # the main thread is written last
    frames = [line.strip() for line in lines[last + 1 :] if line.startswith("  File") and "<frozen" not in line]
    return f"in {frames[0]}" if frames else "no Python stack"


def _is_stopped(pid: int) -> bool:
    """Returns whether a signal has stopped the process, where /proc exists; a debugger's stop does not count."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[:1] == ["T"]
