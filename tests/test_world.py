"""Which process this is, for every launcher."""

import pytest

from tfscale.errors import UserError
from tfscale.world import World, from_environment

HOROVOD = {"HOROVOD_RANK": "3", "HOROVOD_SIZE": "8", "HOROVOD_LOCAL_RANK": "1", "HOROVOD_LOCAL_SIZE": "2"}
OPENMPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
SLURM = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, None),
        (HOROVOD, World(rank=3, size=8, local_rank=1, local_size=2)),
        (OPENMPI, World(rank=3, size=8, local_rank=1)),
        (SLURM, None),
        ({**SLURM, "SLURM_STEP_ID": "0"}, World(rank=0, size=4)),
    ],
    ids=["none", "horovodrun", "mpirun", "a slurm batch script", "srun"],
)
def test_the_launcher_says_who_we_are(environment: dict[str, str], world: World | None) -> None:
    assert from_environment(environment) == world


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="HOROVOD_RANK=x and HOROVOD_SIZE=8 must be numbers"):
        from_environment({**HOROVOD, "HOROVOD_RANK": "x"})


def test_rank_0_is_the_chief() -> None:
    assert World().is_chief
    assert not World(rank=1, size=2).is_chief
