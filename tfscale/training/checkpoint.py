"""Saves and restores a RunState: a folder a checkpoint, written aside and renamed, so that it is whole or absent.

    checkpoints/step-000000120/
        replica-0000.npz ...   each replica's own state (weights, statistics, random streams, optimizer, residual)
        shared.npz             what the strategy shares (threshold, counters)
        model.npz              the consensus: the one model that the replicas stand for, for evaluation and prediction
        MANIFEST.json          step, number of replicas, sha256 of every file

Saving disturbs nothing: the replicas' state is saved as it is, between averagings too. All processes write into one
folder, so on several hosts it must be on a file system that they share.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

import numpy as np
import tensorflow as tf

from tfscale.errors import RunError, UserError
from tfscale.training.state import Arrays, RunState

MANIFEST = "MANIFEST.json"


@final
class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they are; made when the first is saved.
        keep: How many of the newest to keep.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, state: RunState) -> None:
        """Saves the state of all replicas of the job. All processes must call it, at the same step.

        Raises:
            OSError: Nothing could be written; the earlier checkpoints are intact.
            RunError: A replica's file is not where the chief looks for it.
        """
        collective = state.strategy.collective
        final_place = self._folder / _name(state.step)
        place = final_place.with_suffix(".tmp")
        consensus = state.consensus()
        if collective.ranks[0] == 0:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        _barrier(state)
        for index, replica in enumerate(state.replicas):
            _write(place / f"replica-{replica.rank:04d}.npz", state.replica_arrays(index))
        _barrier(state)
        if collective.ranks[0] == 0:
            _write(place / "shared.npz", state.shared_arrays())
            _write(place / "model.npz", _model_arrays(state, consensus))
            _seal(place, state.step, collective.size)
            shutil.rmtree(final_place, ignore_errors=True)
            os.replace(place, final_place)
            _sync_folder(self._folder)
            for old in self._complete()[self._keep :]:
                shutil.rmtree(old, ignore_errors=True)
        _barrier(state)

    def _complete(self) -> list[Path]:
        """Checkpoints by their names, newest first."""
        return sorted((path for path in self._folder.glob("step-*") if not path.suffix), reverse=True)

    def newest(self, warn: Callable[[str], None]) -> Path:
        """The newest checkpoint whose files have the sums of its manifest; warns about each that is passed over.

        Raises:
            UserError: There is none.
        """
        for place in self._complete():
            damage = _damage(place)
            if damage is None:
                return place
            warn(f"checkpoint {place.name} is damaged ({damage}); using the one before it")
        raise UserError(
            f"run.name must name a run with a whole checkpoint, but {self._folder} has none; delete "
            f"{self._folder.parent} or give another run.name"
        )

    def restore(self, state: RunState, place: Path) -> None:
        """Puts a checkpoint into the state.

        Raises:
            UserError: It is of another number of replicas, or of another model, optimizer or strategy.
        """
        manifest = json.loads((place / MANIFEST).read_text())
        replicas = state.strategy.collective.size
        if manifest["replicas"] != replicas:
            raise UserError(
                f"strategy.replicas must be {manifest['replicas']} as in the checkpoint, got {replicas}; start as many "
                "processes as before"
            )
        for index, replica in enumerate(state.replicas):
            state.load_replica(index, _read(place / f"replica-{replica.rank:04d}.npz"))
        state.load_shared(_read(place / "shared.npz"))
        state.step = manifest["step"]


def restore_model(state: RunState, place: Path) -> None:
    """Puts a checkpoint's consensus into every replica of the state, whatever their number; optimizers stay new."""
    arrays = _read(place / "model.npz")
    for replica in state.replicas:
        for name, variable in replica.variables().items():
            if name.startswith("model/"):
                if name not in arrays or arrays[name].shape != tuple(variable.shape):
                    raise UserError(f"the checkpoint in {place} is of another model: {name} does not fit")
                variable.assign(arrays[name])
    state.step = json.loads((place / MANIFEST).read_text())["step"]


def _model_arrays(state: RunState, consensus: tf.Tensor) -> Arrays:
    replica = state.replicas[0]
    own = replica.parameters()
    replica.assign(consensus)
    arrays = {name: np.asarray(variable) for name, variable in replica.variables().items() if name.startswith("model/")}
    replica.assign(own)
    return arrays


def _barrier(state: RunState) -> None:
    """Returns once all processes have come here."""
    collective = state.strategy.collective
    collective.gather([tf.zeros([0], tf.int32) for _ in collective.ranks])


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **dict(arrays))  # pyright: ignore[reportArgumentType] - names, not its options
        stream.flush()
        os.fsync(stream.fileno())


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _names(replicas: int) -> list[str]:
    """The files of a checkpoint."""
    return [f"replica-{rank:04d}.npz" for rank in range(replicas)] + ["shared.npz", "model.npz"]


def _seal(place: Path, step: int, replicas: int) -> None:
    names = _names(replicas)
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise RunError(
            f"{place} lacks {', '.join(missing)}: run.dir must be on a file system that all hosts of the job share"
        )
    manifest = {"step": step, "replicas": replicas, "files": {name: _sum(place / name) for name in names}}
    with (place / MANIFEST).open("w") as stream:
        json.dump(manifest, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    _sync_folder(place)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damage(place: Path) -> str | None:
    """What is wrong with a checkpoint, if anything."""
    try:
        manifest = json.loads((place / MANIFEST).read_text())
        files = manifest["files"]
        if place.name != _name(manifest["step"]) or set(files) != set(_names(manifest["replicas"])):
            return f"{MANIFEST} is of another checkpoint"
        wrong = [name for name, wanted in files.items() if _sum(place / name) != wanted]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST}: {error}"
    return f"{wrong[0]} has the wrong sha256 sum" if wrong else None
