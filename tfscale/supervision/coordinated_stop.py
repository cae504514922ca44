"""How all ranks of a job stop at the same step.

Somebody asks (a signal, or the end of `train.max_time`), in any rank. The chief chooses the step: the next in which all
processes exchange something, which none can complete before the chief has taken part in it. It writes that step down
first, so whoever completes it finds it there. That costs a look at a file a step, and no exchange.
"""

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import final

from tfscale import atomic_file
from tfscale.errors import Enough
from tfscale.supervision.signals import Stopped
from tfscale.world import World

_TIME = 0
"""What stands in a file for the end of `train.max_time`, where others have the number of a signal."""


@final
class CoordinatedStop:
    """Asked by each process after each step.

    Args:
        folder: That all processes of the job see.
        attempt: The same in all of them, and different whenever the job is started.
        restarts: How often it had been started before.
        world: Which process this is.
        noted: What has asked this process to stop, if anything has.
        max_time: Seconds from now until the run is to end; None for no limit.
    """

    def __init__(
        self,
        folder: Path,
        attempt: str,
        restarts: int,
        world: World,
        *,
        noted: Callable[[], Stopped | None],
        max_time: float | None,
    ) -> None:
        self._noted, self._world = noted, world
        stem = f"stop-{restarts}-{attempt}"
        self._asked, self._agreed = folder / f"{stem}.asked", folder / f"{stem}.at"
        self._end = None if max_time is None else time.monotonic() + max_time
        self._said = False

    def __call__(self, step: int, is_sync_step: Callable[[int], bool]) -> Stopped | Enough | None:
        """Why to stop now, if all processes do.

        Args:
            step: Optimizer steps completed.
            meets: Whether all processes exchange something in the step with a number, or when it is completed.
        """
        own = self._own()
        if self._world.size == 1:
            return None if own is None else _reason(own)
        if own is not None and not self._said:
            self._said = True
            _write(self._asked, str(own))
        agreed = _read(self._agreed, 2)
        if agreed is not None:
            at, asked = agreed
            return _reason(asked) if step >= at else None
        if self._world.is_chief and (request := _read(self._asked, 1)) is not None:
            at = next(later for later in itertools.count(step + 1) if is_sync_step(later))
            _write(self._agreed, f"{at} {request[0]}")
        return None

    def _own(self) -> int | None:
        signal = self._noted()
        if signal is not None:
            return signal.number
        return _TIME if self._end is not None and time.monotonic() >= self._end else None


def agreed_stop(folder: Path, restarts: int) -> Stopped | None:
    """The signal for which a job has agreed to stop, if it has, the time that it had been started `restarts` times."""
    found = [_read(path, 2) for path in folder.glob(f"stop-{restarts}-*.at")]
    return next((Stopped(each[1]) for each in found if each is not None and each[1] != _TIME), None)


def _reason(asked: int) -> Stopped | Enough:
    return Enough("train.max_time is over") if asked == _TIME else Stopped(asked)


def _write(path: Path, words: str) -> None:
    with suppress(OSError):  # a full disk: the job is then ended without a last checkpoint, after PATIENCE seconds
        atomic_file.replace(path, words)


def _read(path: Path, count: int) -> list[int] | None:
    try:
        numbers = [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):  # not there, or damaged
        return None
    return numbers if len(numbers) == count else None
