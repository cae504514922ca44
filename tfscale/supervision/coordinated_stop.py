"""Coordinated stop: all ranks of a job stop after the same step.

A signal, the end of `train.max_time` or a callback asks any rank to stop. The chief chooses the step: the next one in
which all processes exchange something. No rank can complete that step before the chief has taken part in it, and the
chief writes its number to a file first, so every rank that completes the step finds it there. The cost is one file
look-up a step, and no exchange.
"""

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import final

from tfscale import atomic_file
from tfscale.errors import EarlyEnd
from tfscale.supervision.signals import Stopped
from tfscale.world import World

_MAX_TIME = 0
"""Reason in a file: the end of `train.max_time`; other reasons are the number of a signal."""

_CALLBACK = -1
"""Reason in a file: a callback of the user's own."""

_ENDS = {_MAX_TIME: "train.max_time is over", _CALLBACK: "a callback has set model.stop_training"}
"""Reason that is no signal -> why the run ends."""


@final
class CoordinatedStop:
    """Decides after each step whether this process stops; call it in every process.

    Args:
        folder: Folder that all processes of the job see.
        attempt: Identifier of this start of the job, the same in all processes.
        restarts: Number of earlier starts of the job.
        world: Identity of this process.
        pending: Returns the first pending signal of this process.
        max_time: Seconds from now to the end of the run; None for no limit.
        ends: Returns whether a callback of this process asks for the end of the run.
    """

    def __init__(
        self,
        folder: Path,
        attempt: str,
        restarts: int,
        world: World,
        *,
        pending: Callable[[], Stopped | None],
        max_time: float | None,
        ends: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pending, self._world, self._ends = pending, world, ends
        stem = f"stop-{restarts}-{attempt}"
        self._request, self._decision = folder / f"{stem}.asked", folder / f"{stem}.at"
        self._end = None if max_time is None else time.monotonic() + max_time
        self._has_requested = False
        self._last: int | None = None

    def __call__(self, step: int, is_sync_step: Callable[[int], bool]) -> Stopped | EarlyEnd | None:
        """Returns why to stop now, if all processes do.

        Args:
            step: Optimizer steps completed.
            is_sync_step: Whether all processes exchange something in the step of a number, or on its completion.
        """
        own = self._own_reason()
        if self._world.size == 1:
            return self._alone(own, step, is_sync_step)
        if own is not None and not self._has_requested:
            self._has_requested = True
            _write(self._request, str(own))
        decision = _read(self._decision, 2)
        if decision is not None:
            last, reason = decision
            return _exception(reason) if step >= last else None
        if self._world.is_chief and (request := _read(self._request, 1)) is not None:
            last = _next_sync_step(step, is_sync_step)
            _write(self._decision, f"{last} {request[0]}")
        return None

    def _alone(self, own: int | None, step: int, is_sync_step: Callable[[int], bool]) -> Stopped | EarlyEnd | None:
        """Returns why the only process stops: for a callback after the step that several would agree on."""
        if own != _CALLBACK:
            return None if own is None else _exception(own)
        self._last = self._last or _next_sync_step(step, is_sync_step)
        return _exception(own) if step >= self._last else None

    def _own_reason(self) -> int | None:
        signal = self._pending()
        if signal is not None:
            return signal.number
        if self._ends():
            return _CALLBACK
        return _MAX_TIME if self._end is not None and time.monotonic() >= self._end else None


def agreed_stop(folder: Path, restarts: int) -> Stopped | None:
    """Signal for which the job has agreed to stop in the start after `restarts` earlier ones; None if it has not."""
    decisions = [_read(path, 2) for path in folder.glob(f"stop-{restarts}-*.at")]
    reasons = [decision[1] for decision in decisions if decision is not None]
    return next((Stopped(reason) for reason in reasons if reason not in _ENDS), None)


def _next_sync_step(step: int, is_sync_step: Callable[[int], bool]) -> int:
    return next(later for later in itertools.count(step + 1) if is_sync_step(later))


def _exception(reason: int) -> Stopped | EarlyEnd:
    return EarlyEnd(_ENDS[reason]) if reason in _ENDS else Stopped(reason)


def _write(path: Path, content: str) -> None:
    with suppress(OSError):  # a full disk: the job then ends without a last checkpoint, after PATIENCE seconds
        atomic_file.replace(path, content)


def _read(path: Path, count: int) -> list[int] | None:
    try:
        numbers = [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):  # missing, or damaged
        return None
    return numbers if len(numbers) == count else None
