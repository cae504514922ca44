"""One start of a job: its parameters, its result, and how a rank learns which start it belongs to."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

RESTART = "TFSCALE_RESTART"
"""Environment variable of a rank: number of earlier starts of its job."""


ENDED = "TFSCALE_ENDED"
"""Environment variable of a rank: steps after which the run had ended well before; empty if it had not."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Parameters of one start of a job.

    Attributes:
        processes: P.
        after: Optimizer steps that the newest checkpoint has completed.
        restarts: Number of earlier starts of this job.
        ended: Optimizer steps after which the run had ended well before the first start; None if it had not.
        deadline_scale: Factor for the deadlines of all phases; None disables the watchdog.
        scaled_until: Optimizer steps after which the factor is 1.
        started: Called with the process ids by rank; 0 stands for a process of another machine.
        trains: Called once, with the first step after `after` that all ranks have completed.
    """

    processes: int
    after: int = 0
    restarts: int = 0
    ended: int | None = None
    deadline_scale: float | None = None
    scaled_until: int = 0
    started: Callable[[Sequence[int]], None] = lambda pids: None
    trains: Callable[[int], None] = lambda step: None

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables for the ranks."""
        return {RESTART: str(self.restarts), ENDED: "" if self.ended is None else str(self.ended)}


class Outcome(Enum):
    """The outcomes of a start of a job."""

    DONE = "done"
    FAILED = "failed"
    """A restart would fail in the same way."""
    STOPPED = "stopped"
    """A signal asked for the end."""
    RETRYABLE = "retryable"
    """A restart may succeed."""
    HUNG = "hung"
    """As RETRYABLE; the job may only have been slow, so the restart gets more time."""

    @property
    def is_retryable(self) -> bool:
        """Returns whether a restart may succeed."""
        return self in (Outcome.RETRYABLE, Outcome.HUNG)


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """Result of one start of a job.

    Attributes:
        outcome: How it has ended.
        code: Exit code.
        cause: Message for the user; None if it ended well.
        step: Optimizer steps that all ranks have completed; None if unknown.
    """

    outcome: Outcome
    code: int
    cause: str | None = None
    step: int | None = None


class Launcher(Protocol):
    """Starts the processes of a job, on this machine or on several hosts."""

    def run(self, attempt: Attempt) -> LaunchResult:
        """Runs one start of the job to its end; passes a signal that asks for the end on to the ranks."""
        ...


def restarts() -> int:
    """Number of earlier starts of the job that this process belongs to."""
    return int(os.environ.get(RESTART, "0"))


def had_ended(otherwise: int | None) -> int | None:
    """Steps after which the run of this rank had ended well before; `otherwise` if no supervisor has said so."""
    value = os.environ.get(ENDED)
    if value is None:
        return otherwise
    return int(value) if value else None
