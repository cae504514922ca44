"""The files of one checkpoint: how they get onto the disk whole, and how damage to them is found.

    checkpoints/step-000000120/
        shared-0000.safetensors ...    what all replicas hold alike, once, in a shard for each: threshold, counters;
                                       with most strategies weights and optimizer, too
        replica-0000.safetensors ...   each replica's own state: statistics, random streams, residual, whatever is not
                                       shared
        model.safetensors              the rest of the consensus, the one model that the replicas stand for, for
                                       evaluation and prediction; not there if nothing is left
        MANIFEST.json                  step, replicas, sha256 sums of the files, what the run depended on, the
                                       checkpoint before, and a sum of all that

Every process writes its part aside, into `step-N.tmp-ATTEMPT/`, and tells the chief what it wrote (see `parts`); the
chief waits for all parts, seals them with the manifest and renames the folder. Nothing is exchanged, and training goes
on meanwhile, until the next save. On several hosts the folder must be on a file system that they share.

safetensors is the field's format for tensors and nothing else: no file can hold code. Nothing here imports TensorFlow.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from tfscale.checkpoint import checksummed_json, durable_io
from tfscale.checkpoint.shards import Shard, collect
from tfscale.checkpoint.tensor_file import Arrays
from tfscale.errors import UserError

MANIFEST = "MANIFEST.json"
MODEL = "model.safetensors"
_FORMAT = 6


class DamagedError(Exception):
    """A file is not what was saved; the message says which, and how that shows."""


class DriftError(Exception):
    """Replicas are about to be saved that should be equal and are not; the message names one."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        step: Optimizer steps completed.
        replicas: W.
        files: Name -> sha256 of each file.
        identity: What the run's bits depend on besides its settings.
        parent: Name of the checkpoint that the run had saved before, or went on from.
    """

    step: int
    replicas: int
    files: Mapping[str, str]
    identity: Mapping[str, Any]
    parent: str | None

    @property
    def digest(self) -> str:
        """sha256 of everything that must survive: equal if and only if two checkpoints hold the same bits."""
        return _sum(json.dumps([self.step, self.replicas, sorted(self.files.items())]).encode())


def folder_name(step: int) -> str:
    """Of the checkpoint after `step` steps."""
    return f"step-{step:09d}"


def step_of(place: Path) -> int:
    """Optimizer steps after which a checkpoint was made, by its name."""
    return int(place.name.removeprefix("step-"))


def replica_file(rank: int) -> str:
    """Name of the file of a replica."""
    return f"replica-{rank:04d}.safetensors"


def shared_file(rank: int) -> str:
    """Name of the file with the shard that a replica saves of what all hold alike."""
    return f"shared-{rank:04d}.safetensors"


def complete(folder: Path) -> list[Path]:
    """The checkpoints of a run by their names, newest first; whether they are sound is not looked at."""
    places = (path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted(places, key=step_of, reverse=True)


def finalize(
    place: Path, final_place: Path, own: Shard, *, shards: int, identity: Mapping[str, Any], parent: str | None
) -> None:
    """Makes a checkpoint of what all processes have written: the chief's last act.

    Raises:
        OSError: Something could not be written, there is such a checkpoint, or a part is missing.
        DriftError: Replicas differ in what they should hold alike: to go on after it would be to go on from that.
    """
    whole = collect(place, own, shards)
    _expect_equal(whole.shared_digests)
    replicas = sum(name.startswith("replica-") for name in whole.files)
    manifest = Manifest(
        step=step_of(final_place), replicas=replicas, files=whole.files, identity=identity, parent=parent
    )
    durable_io.write(
        place, {MANIFEST: np.frombuffer(checksummed_json.document({"format": _FORMAT, **vars(manifest)}), np.uint8)}
    )
    durable_io.sync(place)
    os.replace(place, final_place)
    durable_io.sync(final_place.parent)


def _expect_equal(sums: Mapping[str, int]) -> None:
    usual, _ = Counter(sums.values()).most_common(1)[0]
    for name, each in sorted(sums.items()):
        if each != usual:
            raise DriftError(f"{name} is of a replica that differs from the others in what all should hold alike")


def read_manifest(place: Path) -> Manifest:
    """The manifest of a checkpoint.

    Raises:
        DamagedError: It is not that of this folder, or is not as it was written.
        UserError: Another version of tfscale has written it.
    """
    try:
        body = checksummed_json.read((place / MANIFEST).read_bytes())
        form = body.pop("format")
        if form != _FORMAT:
            which = "an earlier" if form < _FORMAT else "a later"
            raise UserError(f"{place} was written by {which} version of tfscale; go on with that version")
        manifest = Manifest(**body)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST}: {' '.join(str(error).split())}") from None
    names = {name(rank) for rank in range(manifest.replicas) for name in (replica_file, shared_file)}
    if place.name != folder_name(manifest.step) or manifest.files.keys() - {MODEL} != names:
        raise DamagedError(f"{MANIFEST} is of another checkpoint")
    return manifest


def read(place: Path, name: str, manifest: Manifest) -> Arrays:
    """The arrays in one file.

    Raises:
        DamagedError: The file is not as it was written.
    """
    return safetensors.numpy.load(_content(place, name, manifest))


def verify(place: Path) -> Manifest:
    """The manifest, after all files were read and compared with it.

    Raises:
        DamagedError: Something is not as it was written.
    """
    manifest = read_manifest(place)
    for name in manifest.files:
        _content(place, name, manifest)
    return manifest


def newest(folder: Path, damaged: Callable[[Path, DamagedError], None]) -> Path:
    """The newest checkpoint that is sound.

    Args:
        folder: Of all checkpoints.
        damaged: Told of each that is passed over.

    Raises:
        UserError: There is none.
    """
    for place in complete(folder):
        try:
            verify(place)
        except DamagedError as error:
            damaged(place, error)
        else:
            return place
    raise UserError(
        f"run.name must name a run with a whole checkpoint, but {folder} has none; delete {folder.parent} or give "
        "another run.name"
    )


def quarantine(place: Path) -> None:
    """Renames a damaged checkpoint, so that it is not looked at again, but can be."""
    target = place.with_name(f"damaged-{place.name}")
    discard(target)
    os.replace(place, target)


def remove_partial(folder: Path, *, until: int | None = None) -> None:
    """Removes what saves that did not come to their end have left, which no process may be making now.

    Args:
        folder: Of all checkpoints.
        until: Only those of steps up to this one.
    """
    for place in folder.glob("step-*.tmp-*"):
        if until is None or place.name.partition(".")[0] <= folder_name(until):
            discard(place)


def discard(place: Path) -> None:
    """Removes a folder aside, as far as it can be."""
    shutil.rmtree(place, ignore_errors=True)


def prune(folder: Path, *, keep: int, best: str | None) -> None:
    """Removes all but the newest `keep` checkpoints, and the one named `best`.

    Raises:
        DamagedError: The newest does not read back as it was saved; nothing is removed.
    """
    places = complete(folder)
    if len(places) > keep:
        read_manifest(places[0])
    for old in places[keep:]:
        if old.name != best:
            discard(old)


def _content(place: Path, name: str, manifest: Manifest) -> bytes:
    try:
        content = (place / name).read_bytes()
    except OSError as error:
        raise DamagedError(f"{name}: {error.strerror}") from None
    if _sum(content) != manifest.files[name]:
        raise DamagedError(f"{name} has the wrong sha256 sum")
    return content


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
