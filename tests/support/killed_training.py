"""A kill in mid-epoch: of the process that trains, by itself, after a step of the job's first start."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import wait_until
from tfscale.checkpoint.folder import complete
from tfscale.supervision.attempt import restarts
from tfscale.training import trainer
from tfscale.training.loop import StepInfo

RUN = "killed"
"""Name of the run, in ./runs."""

STEP = 7
"""Steps completed at the kill."""


def in_mid_epoch() -> None:
    """Lets the ranks of this process kill themselves after a step, once there is a checkpoint to go back to."""
    steps = trainer.training_steps

    def dying(*arguments: object, **options: object) -> Iterator[StepInfo]:
        for each in steps(*arguments, **options):  # pyright: ignore[reportArgumentType]
            yield each
            if each.step == STEP and not restarts():
                wait_until(lambda: bool(complete(Path("runs") / RUN / "checkpoints")))
                os.kill(os.getpid(), signal.SIGKILL)

    trainer.training_steps = dying


KILLS = {0: 27, 1: 38}
"""Number of earlier starts -> steps completed at the kill: between two checkpoints, after records that are repeated."""


def _has_checkpoint(step: int) -> bool:
    return any(place.name == f"step-{step:09d}" for place in complete(Path("runs") / RUN / "checkpoints"))


def twice() -> None:
    """Lets the ranks of this process kill themselves in two starts, each once it has a new checkpoint to go back to."""
    steps = trainer.training_steps

    def dying(*arguments: object, **options: object) -> Iterator[StepInfo]:
        for each in steps(*arguments, **options):  # pyright: ignore[reportArgumentType]
            yield each
            if each.step == KILLS.get(restarts()):
                wait_until(lambda: _has_checkpoint(each.step // 10 * 10))  # noqa: B023 - called here
                os.kill(os.getpid(), signal.SIGKILL)

    trainer.training_steps = dying
