"""CheckpointStore: saves arrays by name in the background, finds the newest checkpoint, and reads it.

`save` copies the arrays into a staging buffer and returns; a thread writes them while training goes on. A checkpoint
that cannot be written is a warning: the earlier ones are intact, and the next save is tried as usual. If a process
dies meanwhile, its parent writes what all processes have staged (see `recovery`).

Several processes save together: each writes the files of its replicas, and the chief finalizes the checkpoint. They
exchange nothing but files, so the outcome is known to the chief only; whoever needs it in all processes must send it.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from tfscale import cores
from tfscale.checkpoint import folder as checkpoint_folder
from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint.format import DamagedError, DriftError
from tfscale.checkpoint.reader import Checkpoint
from tfscale.checkpoint.shards import mark_failed, wait_for_chief, write_shard
from tfscale.checkpoint.slices import slice_of
from tfscale.checkpoint.snapshot import Snapshot
from tfscale.checkpoint.staging import StagedCheckpoint, StagingBuffer
from tfscale.errors import ExchangeError, RunError


@dataclass(frozen=True, kw_only=True)
class ReplicaArrays:
    """Arrays of one replica, by name.

    Attributes:
        rank: The replica's number.
        own: Arrays that only this replica holds.
        shared: Arrays that are equal in all replicas, or that belong to none; the replica saves its slice of them.
        digest: Digest of the arrays that must be equal in all replicas, as this replica holds them.
    """

    rank: int
    own: Mapping[str, ArrayLike]
    shared: Mapping[str, ArrayLike]
    digest: int


@dataclass(frozen=True, kw_only=True)
class _Save:
    """One save: what is staged, its files, and the checkpoint that pruning keeps besides the newest."""

    staged: StagedCheckpoint
    files: Mapping[str, np.ndarray]
    best: str | None


@final
class CheckpointStore:
    """The checkpoints in one folder, for one of the processes that save them together.

    Args:
        folder: Of all checkpoints; created by the first save.
        keep: Number of checkpoints to keep, the newest ones.
        process: This process's rank; 0 is the chief.
        processes: Number of processes that save together.
        attempt: Name of this start of the job: equal in all processes, different in every start.
        buffer: Memory for the copies.
        warn: Called from a thread with a warning: a checkpoint could not be saved, or old ones are not removed.

    Attributes:
        latest: Step of the checkpoint that was saved or restored last; None before the first.
        failure: Why the last save failed; None if it did not, or is not finished. An ExchangeError if replicas differ.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int,
        process: int,
        processes: int,
        attempt: str,
        buffer: StagingBuffer,
        warn: Callable[[str], None],
    ) -> None:
        self._folder, self._keep, self._process, self._processes = folder, keep, process, processes
        self._attempt, self._buffer, self._warn = attempt, buffer, warn
        self._snapshot = Snapshot(buffer.allocate)
        # At exit a single process waits for this thread; each of several leaves by os._exit.
        self._writer = ThreadPoolExecutor(1, "checkpoints", cores.release_thread)
        self._writing: Future[Path] | None = None
        self._retries = 0
        self.latest: int | None = None
        self.failure: RunError | None = None
        if process == 0:
            checkpoint_folder.remove_partial(folder)

    def save(
        self,
        step: int,
        replicas: Iterable[ReplicaArrays],
        *,
        count: int,
        model: Mapping[str, ArrayLike],
        identity: Mapping[str, Any],
        best_step: int | None = None,
        retry: bool = False,
    ) -> None:
        """Copies the arrays and begins to write them, once the save before has ended.

        All processes must call it at the same steps. A step that is saved already is not saved again.

        Args:
            step: Optimizer steps completed.
            replicas: Arrays of this process's replicas; each is copied before the next is asked for.
            count: W.
            model: The rest of the consensus; saved with replica 0.
            identity: What the run's bits depend on besides its settings.
            best_step: Step of a checkpoint that pruning must keep; None for none.
            retry: Whether a save of this step has failed, in any process.
        """
        self.wait()
        if step == self.latest and not retry:
            return
        self._retries += retry
        files: dict[str, np.ndarray] = {}
        digests: dict[str, int] = {}
        self._buffer.invalidate()
        for each in replicas:
            name = checkpoint_format.replica_file(each.rank)
            files[name], digests[name] = self._snapshot(name, each.own).content, each.digest
            if each.rank == 0 and model:
                files[checkpoint_format.MODEL] = self._snapshot(checkpoint_format.MODEL, model).content
            name = checkpoint_format.shared_file(each.rank)
            files[name] = self._snapshot(name, slice_of(each.shared, each.rank, count)).content
        parent, best = (
            None if number is None else checkpoint_format.folder_name(number) for number in (self.latest, best_step)
        )
        staged = StagedCheckpoint(step=step, shared_digests=digests, identity=identity, parent=parent)
        self._buffer.commit(staged, files)
        self._writing = self._writer.submit(self._write, _Save(staged=staged, files=files, best=best))

    def wait(self) -> None:
        """Returns once the save that was begun has succeeded or failed; raises only errors that are bugs.

        If a parent shares the buffer, the chief has then finalized or given up the checkpoint, so the buffer may be
        overwritten.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            partial = writing.result()
            if self._process and self._buffer.is_shared:
                wait_for_chief(partial)

    def is_complete(self, step: int) -> bool:
        """Returns whether the checkpoint of a step is complete."""
        return self._path(step).exists()

    def newest(self, *, multiple_of: int = 1) -> int | None:
        """Step of the newest intact checkpoint whose step is a multiple of `multiple_of`; None if there is none."""

        def warn(checkpoint: Path, error: DamagedError) -> None:
            self._warn(f"checkpoint {checkpoint.name} is damaged ({error})")

        steps = (checkpoint_format.step_of(path) for path in checkpoint_folder.intact(self._folder, warn))
        return next((step for step in steps if step % multiple_of == 0), None)

    def read(self, step: int) -> Checkpoint:
        """Opens the checkpoint of a step; each of its files is verified when it is read.

        Raises:
            DamagedError: Its manifest is damaged or missing.
            UserError: Another version of tfscale wrote it.
        """
        return Checkpoint(self._path(step))

    def continue_from(self, step: int) -> None:
        """Declares that the run continues from the checkpoint of a step: the staged copy is withdrawn."""
        self._buffer.invalidate()
        self.latest = step

    def _path(self, step: int) -> Path:
        return self._folder / checkpoint_format.folder_name(step)

    def _write(self, save: _Save) -> Path:
        """Writes this process's files, in a thread; returns the unfinished folder, for `wait_for_chief`."""
        staged = save.staged
        checkpoint = self._path(staged.step)
        partial = checkpoint.with_name(f"{checkpoint.name}.tmp-{self._attempt}-{self._retries}")
        try:
            own = write_shard(partial, save.files, shard=self._process, shared_digests=staged.shared_digests)
            if self._process == 0:
                checkpoint_format.finalize(
                    partial,
                    checkpoint,
                    own,
                    shards=self._processes,
                    identity=staged.identity,
                    parent=staged.parent,
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the checkpoint is missing, and the run must know
            kind = ExchangeError if isinstance(error, DriftError) else RunError
            self.failure = kind(f"checkpoint {checkpoint.name} could not be saved: {error}")
            self._give_up(partial)
            return partial
        self.latest, self.failure = staged.step, None
        if self._process == 0:
            self._clean_up(checkpoint, save.best)
        return partial

    def _give_up(self, partial: Path) -> None:
        if self._process == 0:
            checkpoint_folder.discard(partial)
        self._safely_warn(f"{self.failure}; the earlier ones are intact, and training continues")
        if self._process == 0 and self._processes > 1:  # a late process would create the folder again, and wait
            mark_failed(partial, 0)

    def _clean_up(self, checkpoint: Path, best: str | None) -> None:
        try:
            # A process whose own save failed may have reported it late, after the chief gave up.
            checkpoint_folder.remove_partial(self._folder, until=checkpoint_format.step_of(checkpoint))
            checkpoint_folder.prune(self._folder, keep=self._keep, best=best)
        except DamagedError as error:
            self._safely_warn(f"checkpoint {checkpoint.name} cannot be read ({error}); the earlier ones are kept")
        except OSError as error:
            self._safely_warn(f"earlier checkpoints cannot be listed ({error}); they are kept")

    def _safely_warn(self, message: str) -> None:
        """Warns; an output that fails, as it is closed or on the same full disk, does not stop the run."""
        with suppress(OSError, ValueError, SystemExit):  # rich raises SystemExit for a closed pipe
            self._warn(message)
