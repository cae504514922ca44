"""Faults: each disturbs a job that trains, and returns how to resume the job if the fault ends it."""

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

from tfscale.checkpoint.folder import complete
from tfscale.checkpoint.format import DamagedError, verify
from tfscale.config import saved
from tfscale.launchers.spawn import ProcessHandle
from tfscale.runs.events import read_events


def outliving(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Processes that still run after `seconds`; a zombie does not run."""
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
    """A run to disturb.

    Attributes:
        process: Supervisor of the run.
        run: Run directory.
        random: Source of random numbers.
        number: Number of earlier faults of this kind, in other runs too.
    """

    process: ProcessHandle
    run: Path
    random: random.Random
    number: int

    def ranks(self) -> list[psutil.Process]:
        """Processes of the last start, by rank; empty unless all are alive and none is stopped."""
        events = read_events(self.run / "events.jsonl")
        starts = [event["processes"] for event in events if event["event"] == "start"]
        with suppress(psutil.NoSuchProcess):
            found = [psutil.Process(pid) for pid in (starts[-1] if starts else ())]
            stopped = any(process.status() == psutil.STATUS_STOPPED for process in found)
            return found if all(map(_runs, found)) and not stopped else []
        return []

    def trains(self) -> bool:
        """Returns whether the last start has completed a step."""
        events = read_events(self.run / "events.jsonl")
        return bool(events) and events[-1]["event"] == "training" and bool(self.ranks())

    def ended(self, seconds: float) -> int | None:
        """Waits up to `seconds` for the supervisor's exit code; None if it still runs."""
        deadline = time.monotonic() + seconds
        while (code := self.process.poll()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return code

    def wait(self) -> bool:
        """Waits for a random moment; returns whether the run still trains then, with all of its processes.

        The moment is some seconds after a start of the job, or after the first step of a start, with equal chances.
        """
        trains, seconds = self.random.random() < 0.5, self.random.uniform(0.0, LATEST)
        self._until(self.trains if trains else self.ranks)
        time.sleep(seconds)
        self._until(self.ranks)  # the job may be between two starts
        return not self._is_over()

    def _until(self, ready: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not ready() and not self._is_over() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _is_over(self) -> bool:
        return self.process.poll() is not None or (self.run / "summary.json").exists()


LATEST = 3.0
"""Maximal seconds from the start of a job, or its first step, to a fault."""

MOST = 4
"""Maximal number of processes of a job."""

CALLS = 80
"""At least the number of calls of a save that can fail, in all processes."""

Fault = Callable[[Victim], Sequence[str] | None]
"""Injects a fault; returns the arguments of `tfscale resume` if the fault ends the job."""


def _kill(victim: Victim) -> None:
    """Kills one rank by SIGKILL."""
    ranks = victim.ranks()
    if ranks:
        with suppress(psutil.NoSuchProcess):
            victim.random.choice(ranks).kill()


def _freeze(victim: Victim) -> None:
    """Stops one rank by SIGSTOP."""
    ranks = victim.ranks()
    if ranks:
        with suppress(psutil.NoSuchProcess):
            victim.random.choice(ranks).send_signal(signal.SIGSTOP)


def _terminate(victim: Victim) -> Sequence[str]:
    """Ends the whole job by SIGTERM."""
    ranks = victim.ranks()
    victim.process.send_signal(signal.SIGTERM)
    code = victim.ended(60)
    if code not in (0, 143):  # 0: the run had just ended
        raise RuntimeError(f"SIGTERM gave exit code {code}")
    left = [str(process) for process in outliving(ranks, 0)]
    left += [str(place) for place in (victim.run / "checkpoints").glob("*.tmp-*")]
    if left:
        raise RuntimeError(f"SIGTERM left {', '.join(left)}")
    return ()


def _supervisor(victim: Victim) -> Sequence[str]:
    """Kills the supervisor by SIGKILL; its processes must end within two seconds."""
    ranks = victim.ranks()
    victim.process.kill()
    victim.process.wait()
    alive = outliving(ranks, 2)
    if alive:
        raise RuntimeError(f"{len(alive)} processes outlived their supervisor")
    return ()


def _resize(victim: Victim) -> Sequence[str]:
    """Ends the whole job by SIGTERM; it resumes with another number of processes."""
    replicas = saved.read(victim.run, []).strategy["replicas"]
    return [*_terminate(victim), f"launch.np={victim.random.randint(1, min(MOST, replicas))}"]


def _corrupt(victim: Victim) -> Sequence[str]:
    """Kills the supervisor by SIGKILL, then damages a file of the newest checkpoint."""
    _supervisor(victim)
    places = complete(victim.run / "checkpoints")
    if len(places) > 1:
        damage(victim.random.choice(sorted(places[0].iterdir())), victim.random)
    return ()


def damage(path: Path, random: random.Random) -> str:
    """Damages a file at random and returns the kind of damage: bit, byte, truncate, page, empty or gone."""
    content = bytearray(path.read_bytes())
    kind = random.choice(("bit", "byte", "truncate", "page", "empty", "gone"))
    at = random.randrange(len(content))
    if kind == "bit":
        content[at] ^= 1 << random.randrange(8)
    elif kind == "byte":
        content[at] ^= random.randrange(1, 256)
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
    """Flips one bit of a message that a rank receives."""
    preload.flip(victim.random.randrange(2**32))


def _disk(victim: Victim) -> None:
    """Fails one system call that writes a checkpoint: the first of a save, the second, and so on."""
    preload.fail(victim.random.choice((errno.ENOSPC, errno.EIO)), after=victim.number % CALLS, path="/checkpoints/")
    deadline = time.monotonic() + 10
    while preload.is_armed() and victim.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    _verify_newest(victim)


def _full(victim: Victim) -> None:
    """Fails everything that writes to the run directory for a second."""
    preload.fail(errno.ENOSPC, after=-1, path=str(victim.run.absolute()))
    time.sleep(1)
    preload.disarm()
    _verify_newest(victim)


def _verify_newest(victim: Victim) -> None:
    """Verifies the newest checkpoint, whose save the fault must not have touched."""
    places = complete(victim.run / "checkpoints")
    try:
        if places:
            verify(places[0])
    except DamagedError as error:
        if places[0].exists():  # not pruned meanwhile
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
