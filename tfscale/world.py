"""Identity of this process in its job, as the launcher's environment variables give it, without TensorFlow."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tfscale.errors import UserError

_LAUNCHERS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE"),
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)
"""Variables with rank, size, local rank and local size: horovodrun, mpirun, MPICH and Intel MPI, srun."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Identity of a process in its job.

    Attributes:
        rank: Number of the process in the job.
        size: Number of processes in the job.
        local_rank: Number of the process on its host.
        local_size: Number of processes on its host.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_chief(self) -> bool:
        """Returns whether this process reports and writes for the job."""
        return self.rank == 0


def from_environment(environment: Mapping[str, str] = os.environ) -> World | None:
    """Reads this process's identity; None if no launcher has started it.

    Raises:
        UserError: The launcher's variables are not numbers.
    """
    for names in _LAUNCHERS:
        rank, size, local_rank, local_size = (environment.get(name) for name in names)
        # Slurm sets its variables in a batch script too; only a step (srun) is a launch.
        if rank is None or size is None or (names[0] == "SLURM_PROCID" and "SLURM_STEP_ID" not in environment):
            continue
        try:
            return World(
                rank=int(rank),
                size=int(size),
                local_rank=int(local_rank or 0),
                local_size=int(local_size or 1),
            )
        except ValueError:
            raise UserError(f"{names[0]}={rank} and {names[1]}={size} must be numbers; unset them") from None
    return None
