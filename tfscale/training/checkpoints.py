"""Saves and restores a RunState with a CheckpointStore.

The store knows files and arrays by name. This module knows which arrays a state consists of, tells all processes the
outcome of a save, and loads arrays back into replicas. The state is copied as it is, between averagings too, so saving
disturbs nothing.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import keras

from tfscale.checkpoint.format import DamagedError, Manifest, folder_name, verify
from tfscale.checkpoint.reader import Checkpoint
from tfscale.checkpoint.store import CheckpointStore, ReplicaArrays
from tfscale.checkpoint.tensor_file import Arrays
from tfscale.collectives.checksummed import broadcast_text
from tfscale.errors import ExchangeError, RunError, UserError
from tfscale.training.replica import model_variables
from tfscale.training.state import STOPPING, RunState

PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each retry of the final checkpoint."""

_FAILURES = {kind.__name__: kind for kind in (RunError, ExchangeError)}
"""Kinds of failure of a save, by name: of the disk, and of replicas that differ."""


@final
class Checkpoints:
    """The checkpoints of one run, in one of its processes.

    Args:
        store: Where they are.
        identity: What the run's bits depend on besides its settings.
    """

    def __init__(self, store: CheckpointStore, *, identity: Mapping[str, Any]) -> None:
        self._store, self._identity = store, identity

    def save(self, state: RunState) -> None:
        """Begins to save the state of all replicas of the job. All processes must call it, at the same step.

        Waits for the save before, which has a time limit.
        """
        self._save(state, retry=False)

    def _save(self, state: RunState, *, retry: bool) -> None:
        stopping = state.early_stopping
        self._store.save(
            state.step,
            _replica_arrays(state),
            count=state.strategy.collective.size,
            model=state.consensus_arrays(),
            identity=self._identity,
            best_step=stopping.best_step if stopping.keep_best else None,
            retry=retry,
        )

    def wait(self) -> None:
        """Returns once the save that was begun has succeeded or failed."""
        self._store.wait()

    def finish(self, state: RunState) -> None:
        """Returns once the state is on the disk; retries a save that failed. All processes must call it.

        Raises:
            RunError: The state could not be saved.
            ExchangeError: Replicas that should be equal differ.
        """
        failure = self._outcome(state)
        for pause in PAUSES:
            if failure is None or isinstance(failure, ExchangeError):
                break
            time.sleep(pause)
            self._save(state, retry=True)
            failure = self._outcome(state)
        if failure is not None:
            raise failure

    def _outcome(self, state: RunState) -> RunError | None:
        """Returns the reason why the save of the state failed, as the chief knows it; None if it succeeded."""
        self._store.wait()  # the chief waits for the shards of all
        failure: RunError | None = None
        if not self._store.is_complete(state.step):
            missing = RunError(f"checkpoint {folder_name(state.step)} could not be saved")
            failure = self._store.failure or missing
        message = "" if failure is None else f"{type(failure).__name__} {failure}"
        kind, _, words = broadcast_text(state.strategy.collective, message).partition(" ")
        return _FAILURES[kind](words) if kind else None

    def rollback(self, state: RunState, *, every: int) -> str | None:
        """Restores the newest intact checkpoint, but keeps the step. All processes must call it.

        Args:
            state: Is replaced, but for its step.
            every: Steps of which the checkpoint's step must be a multiple: it then does not depend on when a run was
                stopped.

        Returns:
            The checkpoint's name; None if there is none.
        """
        self._store.wait()
        collective = state.strategy.collective
        newest = self._store.newest(multiple_of=every) if 0 in collective.ranks else None
        chosen = broadcast_text(collective, "" if newest is None else str(newest))
        if not chosen:
            return None
        step = state.step
        self.restore(state, int(chosen))
        state.step, state.early_stopping.ended = step, False  # a run that continues has not ended
        return folder_name(int(chosen))

    def restore(self, state: RunState, step: int) -> Manifest:
        """Replaces the state by that of a checkpoint, and verifies that the variables have taken their values.

        Args:
            state: Is replaced.
            step: Of the checkpoint.

        Returns:
            The checkpoint's manifest.

        Raises:
            DamagedError: A file is not as it was written.
            UserError: The checkpoint is of another number of replicas, or of another model, optimizer or strategy.
            RunError: A variable did not take its value.
        """
        self._store.continue_from(step)
        checkpoint = self._store.read(step)
        replicas = state.strategy.collective.size
        if checkpoint.manifest.replicas != replicas:
            raise UserError(
                f"strategy.replicas must be {checkpoint.manifest.replicas} as in the checkpoint, got {replicas}; "
                "leave it out"
            )
        shared = checkpoint.shared()
        common = {name: shared[name] for name in state.common_names() if name in shared}
        for index, replica in enumerate(state.replicas):
            wanted = {**common, **checkpoint.replica(replica.rank)}
            state.load_replica(index, wanted)
            _require_equal(wanted, state.replica_arrays(index))
        shared = {name: value for name, value in shared.items() if name not in common}
        state.load_shared(shared)
        _require_equal(shared, state.shared_arrays())
        state.step = checkpoint.manifest.step
        return checkpoint.manifest


def _replica_arrays(state: RunState) -> Iterator[ReplicaArrays]:
    for index, replica in enumerate(state.replicas):
        view = state.view(index)
        yield ReplicaArrays(rank=replica.rank, own=view.own, shared={**view.common, **view.shared}, digest=view.digest)


def best(newest: Path) -> Path:
    """Returns the checkpoint of the best evaluation.

    Args:
        newest: The newest intact checkpoint, which holds its step.

    Raises:
        UserError: It is missing or damaged.
    """
    step = int(Checkpoint(newest).shared()[f"{STOPPING}best_step"])
    checkpoint = newest.with_name(folder_name(step))
    try:
        verify(checkpoint)
    except DamagedError as error:
        raise UserError(
            f"checkpoint=best must be intact, but {checkpoint} is not ({error}); a run keeps it with "
            "early_stopping.keep_best=true"
        ) from None
    return checkpoint


def restore_model(state: RunState, path: Path) -> None:
    """Loads a checkpoint's consensus into every replica of the state, whatever their number; optimizers stay new.

    Raises:
        DamagedError: A file is not as it was written.
        UserError: The checkpoint is of another model.
    """
    for replica in state.replicas:
        state.step = restore_weights(replica.model, path)


def restore_weights(model: keras.Model, path: Path) -> int:
    """Loads a checkpoint's consensus into a model, whose layers have the names that they had in training.

    Returns:
        Optimizer steps completed.

    Raises:
        DamagedError: A file is not as it was written.
        UserError: The checkpoint is of another model.
    """
    checkpoint = Checkpoint(path)
    arrays = {**checkpoint.shared(), **checkpoint.model()}
    for name, variable in model_variables(model).items():
        if name not in arrays or arrays[name].shape != tuple(variable.shape):
            raise UserError(f"the checkpoint in {path} is of another model: {name} does not fit")
        variable.assign(arrays[name])
    return checkpoint.manifest.step


def _require_equal(wanted: Arrays, got: Arrays) -> None:
    for name, value in wanted.items():
        if value.tobytes() != got[name].tobytes():
            raise RunError(f"{name} does not have the value that was restored; this is a bug")
