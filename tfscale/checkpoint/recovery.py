"""Ends the save that the processes of a job had begun when one of them died: what they had copied is still there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint import staging
from tfscale.checkpoint.format import DriftError
from tfscale.checkpoint.shards import write_shard


def recover(folder: Path, memories: Sequence[int]) -> str | None:
    """Seals the checkpoint that is in the memory of all processes, if there is one that is newer than all sealed ones.

    Args:
        folder: Of all checkpoints.
        memories: The descriptors of all processes' memory; nobody writes there any more, nor to the folder.

    Returns:
        Why it could not be saved; None if it was, or there is none.
    """
    try:
        told = [staging.read(each) for each in memories]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # a wild pointer may be what it died of
    whole = [each for each in told if each is not None]
    steps = {copy.step for copy, _ in whole}
    if len(whole) < len(memories) or len(steps) != 1:
        return None
    step = steps.pop()
    try:
        if any(checkpoint_format.step_of(sealed) >= step for sealed in checkpoint_format.complete(folder)):
            return None
        checkpoint_format.remove_partial(
            folder
        )  # what the processes had written of it, among others: there may be no room for both
        _finalize(folder, whole)
    except (OSError, DriftError) as error:
        return f"checkpoint {checkpoint_format.folder_name(step)} could not be saved: {error}"
    return None


def _finalize(folder: Path, whole: Sequence[tuple[staging.StagedCheckpoint, dict[str, np.ndarray]]]) -> None:
    first, _ = whole[0]
    final_place = folder / checkpoint_format.folder_name(first.step)
    place = final_place.with_name(f"{final_place.name}.tmp-rescue")
    contents = {name: content for _, each in whole for name, content in each.items()}
    shared_digests = {name: total for copy, _ in whole for name, total in copy.shared_digests.items()}
    try:
        own = write_shard(place, contents, shard=0, shared_digests=shared_digests)
        checkpoint_format.finalize(place, final_place, own, shards=1, identity=first.identity, parent=first.parent)
    finally:
        checkpoint_format.discard(place)  # what is sealed has another name by now
