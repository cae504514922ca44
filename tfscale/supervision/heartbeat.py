"""Heartbeat of a rank, written by the thread that trains, so that it stops when training does.

Before each phase (a step, a batch of an evaluation, a save) the training thread writes the phase and its deadline: ten
times the longest duration of this phase in this process, or the job's `launch.hang_timeout` if that is longer. The
first run of a phase compiles: it has minutes and does not count towards the longest. The first waits for data have
minutes, too, and later ones at least twice as long as the first. A job hangs when the deadlines of all ranks have
passed, since a rank that waits for another must not be blamed, or when a process is stopped by a signal.

A heartbeat is a write into memory that a file maps: it takes under two microseconds and outlives the process. Where
another host reads it, a thread syncs it to the shared file system. That thread also detects that the rank has been
started again, here or elsewhere, and then ends this process, which may be unreachable for its launcher.
"""

import functools
import hashlib
import mmap
import os
import struct
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import BinaryIO, final

from tfscale.supervision.phase import Phase

MINUTES = 600.0
"""Seconds for a phase that is known to be slow, or of which nothing is known."""

OF_LONGEST = 10.0
"""Deadline divided by the longest duration of this phase, first run excluded."""

OF_FIRST = 2.0
"""Deadline of the second run of a phase, divided by the duration of the first."""

SYNC_INTERVAL = 0.5
"""Seconds between two syncs of a heartbeat that other hosts read."""

REPLACED = 1
"""Exit code of a process whose rank has been started again."""

_RECORD = struct.Struct("<qdd16sq16s")
"""Steps completed, begin and deadline (seconds, monotonic), phase, pid, machine."""

_COPIES = 2


@dataclass(frozen=True, kw_only=True)
class HeartbeatRecord:
    """Last heartbeat of a rank.

    Attributes:
        step: Optimizer steps completed.
        began: Begin of the phase, in monotonic seconds.
        deadline: Time by which the next heartbeat is due, in monotonic seconds.
        phase: Phase of the rank.
        pid: Process id.
        here: Whether the process runs on this machine; only then `began` and `pid` mean anything here.
    """

    step: int
    began: float
    deadline: float
    phase: Phase
    pid: int
    here: bool


@final
class Heartbeat:
    """Writes the heartbeats of one rank.

    Args:
        path: The file.
        timeout: Seconds that every phase has at least.
        shared: Whether other hosts read the file; the process then ends once another has replaced the file.
    """

    def __init__(self, path: Path, *, timeout: float, shared: bool = False) -> None:
        with path.open("w+b") as stream:
            # Zeros, not a hole: a page of a hole that a full disk cannot provide kills the process that touches it.
            stream.write(bytes(_COPIES * _RECORD.size))
            stream.flush()
            self._map = mmap.mmap(stream.fileno(), _COPIES * _RECORD.size)
        self._timeout = timeout
        self._runs = Counter[Phase]()
        self._first: dict[Phase, float] = {}
        self._longest: dict[Phase, float] = {}
        self._is_measuring = True
        self._phase, self._began = Phase.STARTING, time.monotonic()
        self._write(0, self._began + max(MINUTES, timeout))
        if shared:
            Thread(target=_sync_until_replaced, args=(path, path.open("rb")), daemon=True).start()

    def __call__(self, phase: Phase, step: int) -> None:
        """Reports the begin of a phase, with `step` optimizer steps completed."""
        now = time.monotonic()
        self._measure(self._phase, now - self._began)
        self._phase, self._began = phase, now
        self._write(step, now + max(self._timeout, self._allowance(phase)))

    def discard_duration(self) -> None:
        """Leaves the current phase out of the measurements: this process has been stopped meanwhile."""
        self._is_measuring = False

    def _measure(self, phase: Phase, seconds: float) -> None:
        if not self._is_measuring:
            self._is_measuring = True
            return
        if self._runs[phase] == 0:
            self._first[phase] = seconds
        else:
            self._longest[phase] = max(self._longest.get(phase, 0.0), seconds)
        self._runs[phase] += 1

    def _allowance(self, phase: Phase) -> float:
        """Seconds that the next run of a phase may take, `timeout` aside."""
        if phase.always_has_minutes or self._runs[phase] < phase.runs_with_minutes:
            return MINUTES
        if phase not in self._longest:
            return OF_FIRST * self._first[phase]
        # Sources read several steps at once: most waits are short, and some are as long as the first.
        least = OF_FIRST * self._first[phase] if phase.runs_with_minutes > 1 else 0.0
        return max(least, OF_LONGEST * self._longest[phase])

    def _write(self, step: int, deadline: float) -> None:
        record = _RECORD.pack(step, self._began, deadline, self._phase.value.encode(), os.getpid(), _machine())
        self._map[:] = record * _COPIES  # twice: a reader sees from the difference that a write is under way


def steps_of(folder: Path) -> int | None:
    """Returns the steps that all ranks have completed, by their heartbeats in a folder; None if there are none."""
    try:
        found = [read(path) for path in folder.glob("rank-*.heartbeat")]
    except OSError:  # the folder cannot be listed
        return None
    return min((each.step for each in found if each is not None), default=None)


def read(path: Path) -> HeartbeatRecord | None:
    """Last heartbeat of a rank; None if there is none yet, it is damaged, or a write is under way."""
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        return None
    one, two = content[: _RECORD.size], content[_RECORD.size :]
    if one != two or len(one) != _RECORD.size:
        return None
    step, began, deadline, name, pid, machine = _RECORD.unpack(one)
    if not pid:  # not written yet
        return None
    try:
        phase = Phase(name.rstrip(b"\0").decode())
    except ValueError:
        return None
    return HeartbeatRecord(step=step, began=began, deadline=deadline, phase=phase, pid=pid, here=machine == _machine())


def _sync_until_replaced(path: Path, own: BinaryIO) -> None:
    """Syncs the file of this process for ever; ends the process once `path` is another file."""
    while True:
        with suppress(OSError):  # the next round tries again
            os.fsync(own.fileno())
            with path.open("rb") as current:  # opening makes a network file system look for the newest file
                if not os.path.sameopenfile(current.fileno(), own.fileno()):
                    os._exit(REPLACED)
        time.sleep(SYNC_INTERVAL)


@functools.cache
def _machine() -> bytes:
    """Digest [16] of what shares our clock and process ids: this boot of the machine, or this container."""
    try:
        boot, namespace = Path("/proc/sys/kernel/random/boot_id").read_text(), os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        boot, namespace = os.uname().nodename, 0
    return hashlib.blake2b(f"{boot}{namespace}".encode(), digest_size=16).digest()
