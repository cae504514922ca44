"""What can happen to a run: each fault is done to a job that trains, and says how to go on with it, if it must be."""

import errno
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from tfscale.scripts.chaos import preload

from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint.format import DamagedError
from tfscale.config import preflight
from tfscale.launchers.spawn import ProcessHandle
from tfscale.runs.events import read_events


def outliving(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so many seconds; what only has to be waited for by whoever inherits it is gone."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Victim:
    """A run that is to be disturbed.

    Attributes:
        process: Its supervisor.
        run: Its folder.
        chance: What is drawn from.
        number: How many faults of this kind came before, in other runs too.
    """

    process: ProcessHandle
    run: Path
    chance: random.Random
    number: int

    def ranks(self) -> list[psutil.Process]:
        """The processes of its last start, by rank, if all are alive and none is stopped."""
        events = read_events(self.run / "events.jsonl")
        starts = [event["processes"] for event in events if event["event"] == "start"]
        with suppress(psutil.NoSuchProcess):
            found = [psutil.Process(pid) for pid in (starts[-1] if starts else ())]
            stopped = any(process.status() == psutil.STATUS_STOPPED for process in found)
            return found if all(map(_runs, found)) and not stopped else []
        return []

    def trains(self) -> bool:
        """Whether its last start has completed a step."""
        events = read_events(self.run / "events.jsonl")
        return bool(events) and events[-1]["event"] == "training" and bool(self.ranks())

    def ended(self, seconds: float) -> int | None:
        """The supervisor's exit code, for which it has so many seconds; None if it has not ended then."""
        deadline = time.monotonic() + seconds
        while (code := self.process.poll()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return code

    def wait(self) -> bool:
        """Waits for a moment drawn at random; whether the run still goes on then, with all of its processes.

        It is within some seconds from a start of the job, or from the first step after one, with equal chances.
        """
        trains, seconds = self.chance.random() < 0.5, self.chance.uniform(0.0, LATEST)
        self._until(self.trains if trains else self.ranks)
        time.sleep(seconds)
        self._until(self.ranks)  # it may be between two starts
        return not self._is_over()

    def _until(self, ready: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not ready() and not self._is_over() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _is_over(self) -> bool:
        return self.process.poll() is not None or (self.run / "summary.json").exists()


LATEST = 3.0
"""Seconds from the start of a job, or its first step, to a fault, at most."""

MOST = 4
"""Processes of a job, at most."""

CALLS = 80
"""Calls of a save that can fail, in all processes, or more."""

Fault = Callable[[Victim], Sequence[str] | None]
"""Does it; returns the words of `tfscale resume` if the job is over."""


def _kill(victim: Victim) -> None:
    """One rank, by SIGKILL."""
    ranks = victim.ranks()
    if ranks:
        with suppress(psutil.NoSuchProcess):
            victim.chance.choice(ranks).kill()


def _freeze(victim: Victim) -> None:
    """One rank, by SIGSTOP."""
    ranks = victim.ranks()
    if ranks:
        with suppress(psutil.NoSuchProcess):
            victim.chance.choice(ranks).send_signal(signal.SIGSTOP)


def _terminate(victim: Victim) -> Sequence[str]:
    """The whole job, by SIGTERM."""
    ranks = victim.ranks()
    victim.process.send_signal(signal.SIGTERM)
    code = victim.ended(60)
    if code not in (0, 143):  # 0: it had just come to its end
        raise RuntimeError(f"SIGTERM gave exit code {code}")
    left = [str(process) for process in outliving(ranks, 0)]
    left += [str(place) for place in (victim.run / "checkpoints").glob("*.tmp-*")]
    if left:
        raise RuntimeError(f"SIGTERM left {', '.join(left)}")
    return ()


def _supervisor(victim: Victim) -> Sequence[str]:
    """The supervisor, by SIGKILL; its processes must go within two seconds."""
    ranks = victim.ranks()
    victim.process.kill()
    victim.process.wait()
    alive = outliving(ranks, 2)
    if alive:
        raise RuntimeError(f"{len(alive)} processes outlived their supervisor")
    return ()


def _resize(victim: Victim) -> Sequence[str]:
    """The whole job, by SIGTERM; it goes on with another number of processes."""
    replicas = preflight.saved(victim.run, []).strategy["replicas"]
    return [*_terminate(victim), f"launch.np={victim.chance.randint(1, min(MOST, replicas))}"]


def _corrupt(victim: Victim) -> Sequence[str]:
    """The supervisor, by SIGKILL, and then a file of the newest checkpoint."""
    _supervisor(victim)
    places = checkpoint_format.complete(victim.run / "checkpoints")
    if len(places) > 1:
        damage(victim.chance.choice(sorted(places[0].iterdir())), victim.chance)
    return ()


def damage(path: Path, chance: random.Random) -> str:
    """Changes a file at random, and says how: a bit, a byte, its length, a page of zeros, or all of it."""
    content = bytearray(path.read_bytes())
    kind = chance.choice(("bit", "byte", "truncate", "page", "empty", "gone"))
    at = chance.randrange(len(content))
    if kind == "bit":
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "byte":
        content[at] ^= chance.randrange(1, 256)
    elif kind == "truncate":
        del content[at:]
    elif kind == "page":
        page = content[at : at + 4096]
        content[at : at + 4096] = bytes(len(page)) if any(page) else b"\x01" * len(page)
    elif kind == "empty":
        content.clear()
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(content)
    return kind


def _wire(victim: Victim) -> None:
    """One bit of what some rank receives."""
    preload.flip(victim.chance.randrange(2**32))


def _disk(victim: Victim) -> None:
    """One write, or the like, to a checkpoint fails: the first of a save, the second, and so on."""
    preload.fail(victim.chance.choice((errno.ENOSPC, errno.EIO)), after=victim.number % CALLS, words="/checkpoints/")
    deadline = time.monotonic() + 10
    while preload.is_armed() and victim.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    _look_at_newest(victim)


def _full(victim: Victim) -> None:
    """Nothing can be written to the run's folder for a second."""
    preload.fail(errno.ENOSPC, after=-1, words=str(victim.run.absolute()))
    time.sleep(1)
    preload.disarm()
    _look_at_newest(victim)


def _look_at_newest(victim: Victim) -> None:
    """The newest checkpoint must be sound, whatever became of the save after it."""
    places = checkpoint_format.complete(victim.run / "checkpoints")
    try:
        if places:
            checkpoint_format.verify(places[0])
    except DamagedError as error:
        if places[0].exists():  # and was not retired meanwhile
            raise RuntimeError(f"{places[0].name}: {error}") from None


FAULTS: Mapping[str, Fault] = {
    "kill": _kill,
    "freeze": _freeze,
    "terminate": _terminate,
    "supervisor": _supervisor,
    "resize": _resize,
    "corrupt": _corrupt,
    "wire": _wire,
    "disk": _disk,
    "full": _full,
}
