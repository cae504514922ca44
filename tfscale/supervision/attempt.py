"""One start of a job: what it must know, how it ends, and which one this process belongs to."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

RESTART = "TFSCALE_RESTART"
"""Environment variable with how often the job had been started before, in its processes."""


ENDED = "TFSCALE_ENDED"
"""Environment variable with the steps after which the run had ended well before, in its processes."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one start of a job must know.

    Attributes:
        processes: How many it has.
        after: Optimizer steps that its newest checkpoint has completed.
        restarts: How often the job has been started before.
        ended: Optimizer steps after which the run had ended well before the first start; None if it had not.
        leniency: How many times as long as usual any work may take before the job is said to hang; None for ever.
        lenient_until: Optimizer steps after which that is once.
        started: To be called with the numbers of the processes, or a 0 for each of another machine.
        trains: To be called once, with a step after that.
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
        """More variables for its processes."""
        return {RESTART: str(self.restarts), ENDED: "" if self.ended is None else str(self.ended)}


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """How one start of a job has ended.

    Attributes:
        code: Exit code.
        cause: For the user; None if it ended well.
        again: Whether the job may do better if it is started again.
        hung: Whether it seemed to hang, and may only have been slow.
        step: Optimizer steps that all ranks had completed, as far as is known.
    """

    code: int
    cause: str | None = None
    retryable: bool = False
    hung: bool = False
    step: int | None = None


class Job(Protocol):
    """One start of a job: `processes` on this machine, or `hosts`."""

    def run(self) -> LaunchResult:
        """Runs it to its end; a signal that asks for the end is handed on, and then waited for."""
        ...


def restarts() -> int:
    """How often the job that this process belongs to had been started before."""
    return int(os.environ.get(RESTART, "0"))


def had_ended(otherwise: int | None) -> int | None:
    """The steps after which the run of this process had ended well before; `otherwise` where no parent of ours says."""
    said = os.environ.get(ENDED)
    if said is None:
        return otherwise
    return int(said) if said else None
