"""Saves and restores a RunState, in the background: training goes on while a checkpoint is written.

What is saved is copied first, as it is, between averagings too, so saving disturbs nothing. A checkpoint that cannot be
written is a warning: the earlier ones are intact, and the next is tried as usual. If a process dies meanwhile, its
parent writes what all have copied (see `rescue`). What a checkpoint's files are and how damage is found is in
`checkpoint_files`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np

from tfscale.checkpoint import format as files
from tfscale.checkpoint.format import DamagedError, DriftError, Manifest
from tfscale.checkpoint.shards import mark_failed, wait_for_chief, write_shard
from tfscale.checkpoint.slices import join, slice_of
from tfscale.checkpoint.snapshot import Snapshot
from tfscale.checkpoint.staging import StagedCheckpoint, StagingBuffer
from tfscale.checkpoint.tensor_file import Arrays
from tfscale.collectives.checksummed import broadcast_text
from tfscale.devices import leave_own_cores
from tfscale.errors import ExchangeError, RunError, UserError
from tfscale.training.state import STOPPING, RunState

PAUSES = (0.0, 0.5, 2.0)
"""Seconds between attempts to save what a run ends with."""

_FAILURES = {kind.__name__: kind for kind in (RunError, ExchangeError)}
"""How a save can fail: with the disk, or with the replicas."""

Tell = Callable[[str], None]
"""Gets a warning, in words."""


@final
class Checkpoints:
    """The checkpoints that one process of a run takes part in.

    Args:
        folder: Where they are; made when the first is saved.
        keep: How many of the newest to keep.
        process: This process's rank.
        processes: How many save together.
        attempt: The same in all of them, and different whenever the job is started.
        identity: What the run's bits depend on besides its settings.
        memory: What is saved is copied there.
        warn: Told of a checkpoint that could not be saved, or old ones that are not removed, from a thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int,
        process: int,
        processes: int,
        attempt: str,
        identity: Mapping[str, Any],
        memory: StagingBuffer,
        warn: Tell,
    ) -> None:
        self._folder, self._keep, self._process, self._processes = folder, keep, process, processes
        self._attempt, self._identity, self._warn = attempt, identity, warn
        self._memory, self._snapshot = memory, Snapshot(memory.allocate)
        # One process that leaves waits for what it writes; of several, each leaves by os._exit.
        self._writer = ThreadPoolExecutor(1, "checkpoints", leave_own_cores)
        self._writing: Future[Path] | None = None
        self._failure: RunError | None = None
        self._latest: int | None = None
        self._tries = 0
        if process == 0:
            files.remove_partial(folder)

    def save(self, state: RunState) -> None:
        """Begins to save the state of all replicas of the job. All processes must call it, at the same step.

        Waits for the save before to end, which has a limit.
        """
        model = state.consensus_arrays()
        self.wait()
        if state.step != self._latest:
            self._begin(state, model)

    def _begin(self, state: RunState, model: Arrays) -> None:
        parts: dict[str, np.ndarray] = {}
        shared_digests: dict[str, int] = {}
        self._memory.invalidate()
        for index, replica in enumerate(state.replicas):
            name = files.replica_file(replica.rank)
            view = state.view(index)
            parts[name], shared_digests[name] = self._snapshot(name, view.own).content, view.digest
            if replica.rank == 0 and model:  # it is the one whose random streams the consensus has
                parts[files.MODEL] = self._snapshot(files.MODEL, model).content
            name = files.shared_file(replica.rank)
            part = slice_of({**view.common, **view.shared}, replica.rank, state.strategy.collective.size)
            parts[name] = self._snapshot(name, part).content
        stopping = state.early_stopping
        best = files.folder_name(stopping.best_step) if stopping.keep_best else None
        parent = None if self._latest is None else files.folder_name(self._latest)
        copy = StagedCheckpoint(step=state.step, shared_digests=shared_digests, identity=self._identity, parent=parent)
        self._memory.commit(copy, parts)
        self._writing = self._writer.submit(self._write, copy, parts, best)

    def wait(self) -> None:
        """Returns once the save that was begun has ended, well or not; raises what can only be a bug.

        The chief has then sealed or given up what this process has copied, or is too late: the parent is not to.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            place = writing.result()
            if self._process and self._memory.is_shared:
                wait_for_chief(place)

    def finish(self, state: RunState) -> None:
        """Returns once the state is on the disk; tries again if it is not. All processes must call it.

        Raises:
            RunError: It could not be saved.
            ExchangeError: As replicas differ that should be equal.
        """
        failure = self._outcome(state)
        for pause in PAUSES:
            if failure is None or isinstance(failure, ExchangeError):
                break
            time.sleep(pause)
            self._tries += 1
            self._begin(state, state.consensus_arrays())
            failure = self._outcome(state)
        if failure is not None:
            raise failure

    def _outcome(self, state: RunState) -> RunError | None:
        """What has become of the save of the state, as the chief knows it: why it failed, or nothing."""
        self.wait()  # the chief waits for the parts of all
        missing = RunError(f"checkpoint {files.folder_name(state.step)} could not be saved")
        failure = None if self._place(state.step).exists() else self._failure or missing
        said = "" if failure is None else f"{type(failure).__name__} {failure}"
        kind, _, words = broadcast_text(state.strategy.collective, said).partition(" ")
        return _FAILURES[kind](words) if kind else None

    def _place(self, step: int) -> Path:
        return self._folder / files.folder_name(step)

    def _aside(self, step: int) -> Path:
        return self._folder / f"{files.folder_name(step)}.tmp-{self._attempt}-{self._tries}"

    def _write(self, copy: StagedCheckpoint, parts: Mapping[str, np.ndarray], best: str | None) -> Path:
        """Returns the folder aside; `wait_for_chief` says what it tells."""
        final_place, place = self._place(copy.step), self._aside(copy.step)
        try:
            own = write_shard(place, parts, shard=self._process, shared_digests=copy.shared_digests)
            if self._process == 0:
                files.finalize(
                    place, final_place, own, shards=self._processes, identity=copy.identity, parent=copy.parent
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, this checkpoint is not there, and the run must know
            kind = ExchangeError if isinstance(error, DriftError) else RunError
            self._failure = kind(f"checkpoint {final_place.name} could not be saved: {error}")
            if self._process == 0:
                files.discard(place)
            self._tell(f"{self._failure}; the earlier ones are intact, and training goes on")
            if self._process == 0 and self._processes > 1:  # whoever comes later would make the folder again, and wait
                mark_failed(place, 0)
            return place
        self._latest, self._failure = copy.step, None
        if self._process == 0:
            try:
                files.remove_partial(self._folder, until=copy.step)  # whoever could not take part may have told so late
                files.prune(self._folder, keep=self._keep, best=best)
            except DamagedError as error:
                self._tell(f"checkpoint {final_place.name} cannot be read ({error}); the earlier ones are kept")
            except OSError as error:
                self._tell(f"earlier checkpoints cannot be looked through ({error}); they are kept")
        return place

    def _tell(self, words: str) -> None:
        """Warns; an output that cannot take it, as it is on the same full disk or closed, does not stop the run."""
        with suppress(OSError, ValueError, SystemExit):  # the last is what rich raises for a closed pipe
            self._warn(words)

    def rollback(self, state: RunState, *, every: int) -> str | None:
        """Puts the newest sound checkpoint into the state, all but the step. All processes must call it.

        Args:
            state: All of it, but for its step, is replaced.
            every: Only checkpoints at multiples of so many steps, which do not depend on when a run was stopped.

        Returns:
            Its name; None if there is none.
        """
        self.wait()
        chosen = next((place.name for place in self._sound(every)), "") if self._process == 0 else ""
        name = broadcast_text(state.strategy.collective, chosen)
        if not name:
            return None
        step = state.step
        self.restore(state, self._folder / name)
        state.step, state.early_stopping.ended = step, False  # a run that goes on from there has not
        return name

    def _sound(self, every: int) -> Iterator[Path]:
        """The checkpoints at multiples of so many steps, newest first."""
        for place in files.complete(self._folder):
            try:
                if files.verify(place).step % every == 0:
                    yield place
            except DamagedError as error:
                self._warn(f"checkpoint {place.name} is damaged ({error})")

    def restore(self, state: RunState, place: Path) -> Manifest:
        """Puts a checkpoint into the state, and looks whether the state then is what was saved.

        Returns:
            What the checkpoint says of itself.

        Raises:
            DamagedError: A file is not as it was written.
            UserError: It is of another number of replicas, or of another model, optimizer or strategy.
            RunError: A variable did not take its value.
        """
        self._memory.invalidate()  # it is from where the state does not come from
        manifest = files.read_manifest(place)
        replicas = state.strategy.collective.size
        if manifest.replicas != replicas:
            raise UserError(
                f"strategy.replicas must be {manifest.replicas} as in the checkpoint, got {replicas}; leave it out"
            )
        shared = _shared(place, manifest)
        common = {name: shared[name] for name in state.common_names() if name in shared}
        for index, replica in enumerate(state.replicas):
            wanted = {**common, **files.read(place, files.replica_file(replica.rank), manifest)}
            state.load_replica(index, wanted)
            _compare(wanted, state.replica_arrays(index))
        shared = {name: value for name, value in shared.items() if name not in common}
        state.load_shared(shared)
        _compare(shared, state.shared_arrays())
        state.step = self._latest = manifest.step
        return manifest


def best(newest_place: Path) -> Path:
    """The checkpoint of the best evaluation, as the newest one, which is sound, remembers it.

    Raises:
        UserError: It is not there.
    """
    arrays = _shared(newest_place, files.read_manifest(newest_place))
    place = newest_place.with_name(files.folder_name(int(arrays[f"{STOPPING}best_step"])))
    try:
        files.verify(place)
    except DamagedError as error:
        raise UserError(
            f"checkpoint=best must be there, but {place} is not ({error}); runs keep it with "
            "early_stopping.keep_best=true"
        ) from None
    return place


def restore_model(state: RunState, place: Path) -> None:
    """Puts a checkpoint's consensus into every replica of the state, whatever their number; optimizers stay new.

    Raises:
        DamagedError: A file is not as it was written.
        UserError: It is of another model.
    """
    manifest = files.read_manifest(place)
    rest = files.read(place, files.MODEL, manifest) if files.MODEL in manifest.files else {}
    arrays = {**_shared(place, manifest), **rest}
    for replica in state.replicas:
        for name, variable in replica.variables().items():
            if name.startswith("model/"):
                if name not in arrays or arrays[name].shape != tuple(variable.shape):
                    raise UserError(f"the checkpoint in {place} is of another model: {name} does not fit")
                variable.assign(arrays[name])
    state.step = manifest.step


def _shared(place: Path, manifest: Manifest) -> Arrays:
    """What all replicas hold alike, and what is not any replica's."""
    return join([files.read(place, files.shared_file(rank), manifest) for rank in range(manifest.replicas)])


def _compare(wanted: Arrays, got: Arrays) -> None:
    for name, value in wanted.items():
        if value.tobytes() != got[name].tobytes():
            raise RunError(f"{name} does not have the value that was restored; this is a bug")
