"""Reads the arrays of one checkpoint; every file is verified when it is read."""

from pathlib import Path
from typing import final

from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint.slices import join
from tfscale.checkpoint.tensor_file import Arrays


@final
class Checkpoint:
    """One complete checkpoint. All methods raise DamagedError if a file is not as it was written.

    Args:
        path: Its folder.

    Raises:
        DamagedError: The manifest is damaged or missing.
        UserError: Another version of tfscale wrote it.

    Attributes:
        manifest: Description of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.manifest = checkpoint_format.read_manifest(path)

    def replica(self, rank: int) -> Arrays:
        """Arrays that only this replica holds."""
        return self._read(checkpoint_format.replica_file(rank))

    def shared(self) -> Arrays:
        """Arrays that are equal in all replicas, and those that belong to none."""
        return join([self._read(checkpoint_format.shared_file(rank)) for rank in range(self.manifest.replicas)])

    def model(self) -> Arrays:
        """The rest of the consensus; empty if nothing is left."""
        return self._read(checkpoint_format.MODEL) if checkpoint_format.MODEL in self.manifest.files else {}

    def _read(self, name: str) -> Arrays:
        return checkpoint_format.read_arrays(self._path, name, self.manifest)
