"""Ends the save that the processes of a job had begun when one of them died: what they had copied is still there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfscale.checkpoint import format as files
from tfscale.checkpoint import staging as memory
from tfscale.checkpoint.format import DriftError
from tfscale.checkpoint.shards import write_part


def rescue(folder: Path, memories: Sequence[int]) -> str | None:
    """Seals the checkpoint that is in the memory of all processes, if there is one that is newer than all sealed ones.

    Args:
        folder: Of all checkpoints.
        memories: The descriptors of all processes' memory; nobody writes there any more, nor to the folder.

    Returns:
        Why it could not be saved; None if it was, or there is none.
    """
    try:
        told = [memory.read(each) for each in memories]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # a wild pointer may be what it died of
    whole = [each for each in told if each is not None]
    steps = {copy.step for copy, _ in whole}
    if len(whole) < len(memories) or len(steps) != 1:
        return None
    step = steps.pop()
    try:
        if any(files.step_of(sealed) >= step for sealed in files.complete(folder)):
            return None
        files.sweep(folder)  # what the processes had written of it, among others: there may be no room for both
        _seal(folder, whole)
    except (OSError, DriftError) as error:
        return f"checkpoint {files.folder_name(step)} could not be saved: {error}"
    return None


def _seal(folder: Path, whole: Sequence[tuple[memory.Copy, dict[str, np.ndarray]]]) -> None:
    first, _ = whole[0]
    final_place = folder / files.folder_name(first.step)
    place = final_place.with_name(f"{final_place.name}.tmp-rescue")
    contents = {name: content for _, each in whole for name, content in each.items()}
    alike = {name: total for copy, _ in whole for name, total in copy.alike.items()}
    try:
        own = write_part(place, contents, part=0, alike=alike)
        files.seal(place, final_place, own, parts=1, identity=first.identity, parent=first.parent)
    finally:
        files.discard(place)  # what is sealed has another name by now
