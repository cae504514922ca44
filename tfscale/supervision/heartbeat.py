"""A rank's heartbeat, beaten by the thread that trains, so that it stops when training does.

Whatever the training thread begins (a step, a batch of an evaluation, a save) it says so first, with the time by which
it should have come to the next thing: ten times the longest that this kind of work has ever taken here, or the job's
`launch.hang_timeout` if that is longer. What is done for the first time compiles: it has minutes, and says little of
how long it takes from then on. A job hangs when every rank's time is over, since one that waits for another must not be
blamed, or when a rank has been stopped.

A beat is a write into memory that a file maps: it costs under two microseconds and outlives the process. Where it is
read on another host, a thread writes it through to the file system that the hosts share; when it finds there that the
rank has been started anew, elsewhere or here, it ends this process, which nobody may have been able to reach.
"""

import functools
import hashlib
import mmap
import os
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import BinaryIO, final

PATIENT = 600.0
"""Seconds for work that is done for the first time: it may compile for long."""

LONGEST = 10.0
"""Times the longest that a kind of work has taken until now, but for its first time."""

SECOND = 2.0
"""Times what a kind of work has taken for the first time, for the second."""

STARTING = "starting"
"""What a rank does until it trains."""

DISK = "the disk"
"""What a rank waits for before it saves again, and at its end."""

SLOW = (DISK,)
"""Works that always have minutes."""

THROUGH = 0.5
"""Seconds between two times that beats are written through to other hosts."""

REPLACED = 1
"""Exit code of a process whose rank has been started anew."""

_RECORD = struct.Struct("<qdd16sq16s")
"""Steps completed, when it began, by when it should be over (seconds, monotonic), kind of work, process, machine."""

_COPIES = 2


@dataclass(frozen=True, kw_only=True)
class HeartbeatRecord:
    """What a rank does.

    Attributes:
        step: Optimizer steps completed.
        began: When, in monotonic seconds.
        deadline: By when the next beat should come.
        work: What, in a word or two.
        pid: The number of its process.
        here: Whether it is on this machine, whose clock and process numbers it then has.
    """

    step: int
    began: float
    deadline: float
    phase: str
    pid: int
    here: bool


@final
class Heartbeat:
    """Beats for one rank.

    Args:
        path: The file.
        timeout: Seconds that no usual work takes.
        through: Whether it is to be read on other hosts, too, and the process to end when another has taken its place.
    """

    def __init__(self, path: Path, *, timeout: float, through: bool = False) -> None:
        with path.open("w+b") as stream:
            stream.write(bytes(_COPIES * _RECORD.size))  # and not a hole: a page that a full disk cannot give kills
            stream.flush()
            self._map = mmap.mmap(stream.fileno(), _COPIES * _RECORD.size)
        self._timeout = timeout
        self._usual: dict[str, float] = {}
        self._firsts = set[str]()
        self._phase, self._began = STARTING, time.monotonic()
        self._write(0, self._began + max(PATIENT, timeout))
        if through:
            Thread(target=_write_through, args=(path, path.open("rb")), daemon=True).start()

    def __call__(self, phase: str, step: int) -> None:
        """`work` begins, at most 16 letters, with `step` optimizer steps completed."""
        now = time.monotonic()
        self._usual[self._phase] = self._after(self._phase, now - self._began)
        usual = PATIENT if phase in SLOW else self._usual.get(phase, PATIENT)
        self._phase, self._began = phase, now
        self._write(step, now + max(self._timeout, usual))

    def _after(self, phase: str, seconds: float) -> float:
        """How long a kind of work may take from now on, after it has taken so long."""
        if phase not in self._usual:
            self._firsts.add(phase)
            return SECOND * seconds
        before = 0.0 if phase in self._firsts else self._usual[phase]
        self._firsts.discard(phase)
        return max(before, LONGEST * seconds)

    def _write(self, step: int, deadline: float) -> None:
        record = _RECORD.pack(step, self._began, deadline, self._phase.encode(), os.getpid(), _machine())
        self._map[:] = record * _COPIES  # two, so that a reader sees whether it has read while one was written


def read(path: Path) -> HeartbeatRecord | None:
    """The last beat of a rank; None if there is none yet, or one is just being written."""
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        return None
    one, two = content[: _RECORD.size], content[_RECORD.size :]
    if one != two or len(one) != _RECORD.size:
        return None
    step, began, deadline, phase, pid, machine = _RECORD.unpack(one)
    if not pid:  # not written yet
        return None
    words = phase.rstrip(b"\0").decode(errors="replace")
    return HeartbeatRecord(step=step, began=began, deadline=deadline, phase=words, pid=pid, here=machine == _machine())


def _write_through(path: Path, own: BinaryIO) -> None:
    while True:
        with suppress(OSError):  # another time, perhaps
            os.fsync(own.fileno())
            with path.open("rb") as now:  # as a file system of several hosts makes sure that it is the newest
                if not os.path.sameopenfile(now.fileno(), own.fileno()):
                    os._exit(REPLACED)
        time.sleep(THROUGH)


@functools.cache
def _machine() -> bytes:
    """[16] that stand for all that has our clock and process numbers: this start of the machine, or this container."""
    try:
        boot, numbers = Path("/proc/sys/kernel/random/boot_id").read_text(), os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        boot, numbers = os.uname().nodename, 0
    return hashlib.blake2b(f"{boot}{numbers}".encode(), digest_size=16).digest()
