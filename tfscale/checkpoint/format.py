"""Files of one checkpoint: their names, the manifest that completes them, and the detection of damage.

    checkpoints/step-000000120/
        shared-0000.safetensors ...    arrays that are equal in all replicas, one slice a replica: threshold, counters;
                                       with most strategies weights and optimizer, too
        replica-0000.safetensors ...   arrays of one replica: statistics, random streams, residual, whatever is not
                                       shared
        model.safetensors              the rest of the consensus, the one model that the replicas stand for, for
                                       evaluation and prediction; absent if nothing is left
        MANIFEST.json                  step, replicas, sha256 sums of the files, what the run depended on, the
                                       checkpoint before, and a sum of all that

Every process writes its shard into `step-N.tmp-ATTEMPT/` and reports it to the chief (see `shards`). The chief waits
for all shards, writes the manifest and renames the folder. On several hosts the folder must be on a file system that
they share.

safetensors is the field's format for tensors and nothing else: no file can hold code. Nothing here imports TensorFlow.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from tfscale.checkpoint import checksummed_json, durable_io
from tfscale.checkpoint.shards import Shard, collect
from tfscale.checkpoint.tensor_file import Arrays
from tfscale.errors import UserError
from tfscale.majority import majority

MANIFEST = "MANIFEST.json"
MODEL = "model.safetensors"
_FORMAT = 6


class DamagedError(Exception):
    """A file is not as it was saved; the message names it and the evidence."""


class DriftError(Exception):
    """Replicas that should hold equal arrays do not; the message names one."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Description of a checkpoint.

    Attributes:
        step: Optimizer steps completed.
        replicas: W.
        files: Name -> sha256 of each file.
        identity: What the run's bits depend on besides its settings.
        parent: Name of the checkpoint that the run saved before, or resumed from.
    """

    step: int
    replicas: int
    files: Mapping[str, str]
    identity: Mapping[str, Any]
    parent: str | None

    @property
    def digest(self) -> str:
        """sha256 of step and files: equal if and only if two checkpoints hold the same bits."""
        return _sha256(json.dumps([self.step, self.replicas, sorted(self.files.items())]).encode())


def folder_name(step: int) -> str:
    """Name of the checkpoint after `step` steps."""
    return f"step-{step:09d}"


def step_of(checkpoint: Path) -> int:
    """Optimizer steps completed in a checkpoint, by its name."""
    return int(checkpoint.name.removeprefix("step-"))


def replica_file(rank: int) -> str:
    """Name of the file with the arrays of one replica."""
    return f"replica-{rank:04d}.safetensors"


def shared_file(rank: int) -> str:
    """Name of the file with the slice of the shared arrays that one replica saves."""
    return f"shared-{rank:04d}.safetensors"


def finalize(
    partial: Path, checkpoint: Path, own: Shard, *, shards: int, identity: Mapping[str, Any], parent: str | None
) -> None:
    """Completes a checkpoint from the shards of all processes: the chief's last act.

    Args:
        partial: The folder that all processes have written to.
        checkpoint: Its final path.
        own: The chief's shard.
        shards: Number of processes.
        identity: See `Manifest`.
        parent: See `Manifest`.

    Raises:
        OSError: A write failed, the checkpoint exists, or a shard is missing.
        DriftError: Replicas differ in arrays that should be equal: a run resumed from them would keep the difference.
    """
    shard = collect(partial, own, shards)
    _require_equal(shard.shared_digests)
    manifest = Manifest(
        step=step_of(checkpoint),
        replicas=sum(name.startswith("replica-") for name in shard.files),
        files=shard.files,
        identity=identity,
        parent=parent,
    )
    document = checksummed_json.document({"format": _FORMAT, **vars(manifest)})
    durable_io.write(partial, {MANIFEST: np.frombuffer(document, np.uint8)})
    durable_io.sync(partial)
    os.replace(partial, checkpoint)
    durable_io.sync(checkpoint.parent)


def _require_equal(digests: Mapping[str, int]) -> None:
    expected = majority(digests.values())
    for name, digest in sorted(digests.items()):
        if digest != expected:
            raise DriftError(f"{name} is of a replica that differs from the others in arrays that should be equal")


def read_manifest(checkpoint: Path) -> Manifest:
    """Reads the manifest of a checkpoint.

    Raises:
        DamagedError: It is not as it was written, or belongs to another folder.
        UserError: Another version of tfscale wrote it.
    """
    try:
        body = checksummed_json.read((checkpoint / MANIFEST).read_bytes())
        version = body.pop("format")
        if version != _FORMAT:
            which = "an earlier" if version < _FORMAT else "a later"
            raise UserError(f"{checkpoint} was written by {which} version of tfscale; resume it with that version")
        manifest = Manifest(**body)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST}: {' '.join(str(error).split())}") from None
    names = {name(rank) for rank in range(manifest.replicas) for name in (replica_file, shared_file)}
    if checkpoint.name != folder_name(manifest.step) or manifest.files.keys() - {MODEL} != names:
        raise DamagedError(f"{MANIFEST} belongs to another checkpoint")
    return manifest


def read_arrays(checkpoint: Path, name: str, manifest: Manifest) -> Arrays:
    """Reads the arrays in one file.

    Raises:
        DamagedError: The file is not as it was written.
    """
    return safetensors.numpy.load(_content(checkpoint, name, manifest))


def verify(checkpoint: Path) -> Manifest:
    """Reads all files and compares them with the manifest, which it returns.

    Raises:
        DamagedError: A file is not as it was written.
    """
    manifest = read_manifest(checkpoint)
    for name in manifest.files:
        _content(checkpoint, name, manifest)
    return manifest


def _content(checkpoint: Path, name: str, manifest: Manifest) -> bytes:
    try:
        content = (checkpoint / name).read_bytes()
    except OSError as error:
        raise DamagedError(f"{name}: {error.strerror}") from None
    if _sha256(content) != manifest.files[name]:
        raise DamagedError(f"{name} has the wrong sha256 sum")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
