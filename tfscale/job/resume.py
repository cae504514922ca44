"""Continues a run after its newest intact checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfscale.checkpoint.folder import newest, quarantine
from tfscale.checkpoint.format import DamagedError, step_of
from tfscale.collectives.base import Collective
from tfscale.collectives.checksummed import broadcast_text
from tfscale.job.build import Job
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import had_ended
from tfscale.training.checkpoints import Checkpoints
from tfscale.training.trainer import require_steps_left
from tfscale.world import World


def has_checkpoints(directory: RunDirectory, collective: Collective) -> bool:
    """Returns whether the run ever had a checkpoint, as the chief sees it; if not, it starts from the beginning."""
    some = any(directory.checkpoints.glob("*step-*"))
    return broadcast_text(collective, "some" if some else "none") == "some"


def restore_newest(
    job: Job,
    checkpoints: Checkpoints,
    now: Mapping[str, Any],
    directory: RunDirectory,
    world: World,
    warn: Callable[[str], None],
) -> str:
    """Restores the newest intact checkpoint, if there is one; the chief chooses it for all processes.

    Args:
        job: Gets the state.
        checkpoints: Of the run.
        now: What the bits of this start depend on besides its settings.
        directory: Of the run.
        world: Which process this is.
        warn: Takes a sentence; does nothing in other processes than the chief's.

    Returns:
        How `now` differs from what the bits of the checkpoint depended on; empty if it does not.

    Raises:
        UserError: The run has completed more steps than it is to train.
    """

    def damaged(place: Path, error: DamagedError) -> None:
        quarantine(place)
        warn(f"checkpoint {place.name} is damaged ({error}) and quarantined; using the one before it")

    if not has_checkpoints(directory, job.collective):
        warn("the run has no checkpoint yet and starts from the beginning")
        return ""
    chosen = ""
    if world.is_chief:
        chosen = f"{newest(directory.checkpoints, damaged).name} {had_ended(directory.ended_after())}"
    name, _, ended = broadcast_text(job.collective, chosen).partition(" ")
    before = checkpoints.restore(job.state, step_of(directory.checkpoints / name)).identity
    require_steps_left(job.plan, job.state.step)
    if ended == str(job.state.step):  # whoever continues a run that has ended wants more steps
        job.state.early_stopping.ended = False
    differ = [f"{key} {before.get(key)}, now {now.get(key)}" for key in now if before.get(key) != now.get(key)]
    if not differ:
        return ""
    text = f"the run may not end in the bits it would have had: {'; '.join(differ)}"
    warn(text)
    return text
