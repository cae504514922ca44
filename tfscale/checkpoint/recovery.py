"""Recovery: the parent finishes the save that the processes of a job had begun when one of them died."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfscale.checkpoint import folder as checkpoint_folder
from tfscale.checkpoint import staging
from tfscale.checkpoint.format import DriftError, finalize, folder_name, step_of
from tfscale.checkpoint.shards import write_shard

_Staged = tuple[staging.StagedCheckpoint, dict[str, np.ndarray]]


def recover(folder: Path, descriptors: Sequence[int]) -> str | None:
    """Writes the checkpoint that is in the staging buffers of all processes, if it is newer than all complete ones.

    Args:
        folder: Of all checkpoints; no process writes there any more.
        descriptors: Of the staging buffers of all processes; no process writes there any more.

    Returns:
        Why it could not be saved; None if it was, or if there is none.
    """
    try:
        staged = [staging.read(each) for each in descriptors]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # the process may have died of a wild pointer
    found = [each for each in staged if each is not None]
    steps = {description.step for description, _ in found}
    if len(found) < len(descriptors) or len(steps) != 1:
        return None
    step = steps.pop()
    try:
        newest = checkpoint_folder.newest_complete(folder)
        if newest is not None and step_of(newest) >= step:
            return None
        checkpoint_folder.remove_partial(folder)  # the disk may not hold both the unfinished files and these
        _save(folder, found)
    except (OSError, DriftError) as error:
        return f"checkpoint {folder_name(step)} could not be saved: {error}"
    return None


def _save(folder: Path, staged: Sequence[_Staged]) -> None:
    first, _ = staged[0]
    checkpoint = folder / folder_name(first.step)
    partial = checkpoint.with_name(f"{checkpoint.name}.tmp-recovery")
    contents = {name: content for _, files in staged for name, content in files.items()}
    digests = {name: digest for description, _ in staged for name, digest in description.shared_digests.items()}
    try:
        own = write_shard(partial, contents, shard=0, shared_digests=digests)
        finalize(partial, checkpoint, own, shards=1, identity=first.identity, parent=first.parent)
    finally:
        checkpoint_folder.discard(partial)  # it is gone already if it was finalized
