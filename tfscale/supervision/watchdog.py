"""Finds out that a job has stopped going on, and where it is stuck.

A rank in an exchange waits for the others, so none is blamed for being late alone: the job hangs when the time of every
rank's work is over (see `pulse`), or when a process has been stopped. Then all are asked for their Python stacks, and
the ranks that are not waiting for others are named. Clocks of other hosts are not ours, and their beats come late: what
counts there is when one was first seen here.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision import heartbeat
from tfscale.supervision.heartbeat import PATIENT, HeartbeatRecord

EVERY = 0.25
"""Seconds between two looks."""

STOPPED = 2.0
"""Seconds for which a process may be stopped."""

ANSWER = 0.3
"""Seconds for the ranks to write their stacks; each does so at once, or cannot."""

PAUSED = 1.5
"""Seconds between two looks after which the whole machine, or container, must have been paused."""

FAR = 2.0
"""Seconds that a beat of another host may come late."""

EXCHANGES = ("a step", "averaging", "logging", "saving", "evaluating", "a test batch", "closing")
"""Works in which a rank may be waiting for others."""


@dataclass(frozen=True)
class Hang:
    """What is wrong with a job.

    Attributes:
        words: For the user.
        hangs: Whether it seems to hang, and may only be slow.
    """

    words: str
    hangs: bool


@final
class Watchdog:
    """Looks after the processes of one start of a job.

    Args:
        pids: Of the processes, by rank; a 0 for each that only its beats tell of.
        directory: Of the run.
        leniency: How many times as long as it has said any work may take; None for ever.
        lenient_until: Optimizer steps after which that is once.
        after: Optimizer steps that were completed before.
        trains: Called once, with a step after those.
    """

    def __init__(
        self,
        pids: Sequence[int],
        directory: RunDirectory,
        *,
        deadline_scale: float | None,
        scaled_until: int = 0,
        after: int = 0,
        trains: Callable[[int], None] = lambda step: None,
    ) -> None:
        self._pids, self._directory = pids, directory
        self._deadline_scale, self._scaled_until = deadline_scale, scaled_until
        self._after, self._trains = after, trains
        self._last = self._began = time.monotonic()
        self._stopped_since: dict[int, float] = {}
        self._seen: list[float] = [self._began] * len(pids)
        self.records: list[HeartbeatRecord | None] = [None] * len(pids)

    @property
    def step(self) -> int | None:
        """Optimizer steps that all ranks have completed; None if one has yet to begin."""
        steps = [record.step for record in self.records if record is not None and record.phase != heartbeat.STARTING]
        return min(steps) if len(steps) == len(self._pids) else None

    def check(self) -> Hang | None:
        """What is wrong, if anything is; looks every `EVERY` seconds however often it is called."""
        now = time.monotonic()
        if now < self._last + EVERY:
            return None
        if now > self._last + PAUSED:  # nobody could beat
            self._began = now
            self._stopped_since.clear()
        self._last = now
        self.read()
        if self._deadline_scale is None:
            return None
        for rank in range(len(self._pids)):
            pid = self._pid(rank)
            since = self._stopped_since.setdefault(rank, now) if pid and _is_stopped(pid) else None
            if since is None:
                self._stopped_since.pop(rank, None)
            elif now - since >= STOPPED:
                record = self.records[rank]
                where = "" if record is None else f" after step {record.step:,}"
                return Hang(f"rank {rank} (process {pid}) has been stopped (SIGSTOP){where}", hangs=False)
        records = [record for record in self.records if record is not None]
        if len(records) < len(self._pids):
            late = now > self._began + PATIENT
            silent = f"rank {self.records.index(None)} has not begun to train in {PATIENT:.0f} s"
            return Hang(silent, hangs=True) if late else None
        gets_on = self.step is not None and self.step > self._scaled_until
        deadline_scale = 1.0 if gets_on else self._deadline_scale
        if all(self._is_late(rank, record, deadline_scale, now) for rank, record in enumerate(records)):
            return Hang(self._report(records, now), hangs=True)
        return None

    def read(self) -> None:
        """Looks at all beats now, as `look` does at times, and tells once that the job trains.

        To be called when processes have ended, too: they may have trained since the last look.
        """
        for rank, before in enumerate(self.records):
            record = heartbeat.read(self._directory.heartbeat(rank))
            if record is not None and record != before:
                self.records[rank] = record
                self._seen[rank] = record.began if record.here else time.monotonic() + FAR
        step = self.step
        if step is not None and step > self._after:
            self._after = sys.maxsize  # once is enough
            self._trains(step)

    def _pid(self, rank: int) -> int:
        """The number of a rank's process; 0 if it is not known, or not of this machine."""
        record = self.records[rank]
        return self._pids[rank] or (record.pid if record is not None and record.here else 0)

    def _is_late(self, rank: int, record: HeartbeatRecord, deadline_scale: float, now: float) -> bool:
        return now > max(self._seen[rank], self._began) + deadline_scale * (record.deadline - record.began)

    def _report(self, records: Sequence[HeartbeatRecord], now: float) -> str:
        """Names the ranks that hang, with the innermost line of their Python."""
        for pid in filter(None, map(self._pid, range(len(records)))):
            with suppress(OSError):
                os.kill(pid, signal.SIGUSR1)
        time.sleep(ANSWER)
        fewest = min(record.step for record in records)
        behind = [rank for rank, record in enumerate(records) if record.step == fewest]
        guilty = [rank for rank in behind if records[rank].phase not in EXCHANGES] or behind
        words = []
        for rank in guilty:
            record, pid = records[rank], self._pid(rank)
            place = innermost(self._directory.stack(rank)) if pid else "on another host"
            words.append(
                f"rank {rank} (process {pid or record.pid}) hangs after step {record.step:,}: {record.phase} for "
                f"{now - self._seen[rank]:.1f} s, {place}"
            )
        return f"{'; '.join(words)}. Stacks: {self._directory.logs / 'rank-*.stack'}"


def innermost(path: Path) -> str:
    """The innermost line of the main thread in a stack that `faulthandler` wrote, but for Python's own machinery."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return "it has left no stack"
    heads = [index for index, line in enumerate(lines) if line.startswith(("Current thread", "Thread"))]
    last = max(heads, default=-1)  # the main thread is written last
    frames = [line.strip() for line in lines[last + 1 :] if line.startswith("  File") and "<frozen" not in line]
    return f"in {frames[0]}" if frames else "it has left no stack"


def _is_stopped(pid: int) -> bool:
    """Whether the process is stopped by a signal, where /proc says so; a debugger's stop is not meant."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[:1] == ["T"]
