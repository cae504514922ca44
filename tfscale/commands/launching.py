"""Starts the processes of a command on this machine: what `train`, `evaluate` and other commands share.

`train` supervises its processes, as a run can go on from a checkpoint. The other commands start theirs once: one that
fails ends the others, and is the one message.
"""

import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from tfscale.config.schemas.config import Launch
from tfscale.errors import HOROVOD_MISSING, UserError
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.rendezvous import require_loopback
from tfscale.launchers.spawn import Spawner, die_with_parent, spawn_command, spawn_fork
from tfscale.runs.run_directory import RunDirectory
from tfscale.startup_noise import hidden_startup_noise, hidden_stderr
from tfscale.supervision.attempt import Attempt, Launcher, Outcome
from tfscale.terminal import logger, survive_write_errors
from tfscale.world import World, from_environment

TFSCALE = (sys.executable, "-P", "-m", "tfscale")
"""Beginning of a rank's command. -P: modules in the folder where the user types must not replace installed ones."""

Rank = Callable[[], int]
"""A rank's work, from its start to its exit code."""


def announce(processes: int) -> None:
    """Prints that the job starts, at once: TensorFlow takes seconds to load."""
    from tfscale.tracking.tables import person_console

    survive_write_errors("stdout")
    noun = "process" if processes == 1 else "processes"
    person_console().print(f"starting {processes} {noun}", highlight=False)


def rank_spawner(command: Sequence[str], load: Callable[[], Rank]) -> Spawner:
    """Returns what starts a rank: a fork of this process, or a command where forks do not work.

    Args:
        command: Words after `tfscale`, the command first.
        load: Imports what the rank needs, here and once, and returns its work. TensorFlow must not be used yet.
    """
    if not sys.platform.startswith("linux"):
        return spawn_command([*TFSCALE, *command])
    with hidden_stderr():
        work = load()

    def rank() -> int:
        with hidden_startup_noise():
            pass
        return work()

    return spawn_fork(rank)


def on_this_machine(
    spawner: Callable[[Attempt], Spawner], launch: Launch, directory: RunDirectory, *, by_horovod: bool
) -> Launcher:
    """Returns the launcher of a job on this machine."""
    return LocalLauncher(
        spawner,
        directory=directory,
        start_timeout=launch.start_timeout,
        interface=launch.network_interface,
        by_horovod=by_horovod,
    )


def processes_here(given: str | None, *, by_horovod: bool) -> tuple[World | None, int]:
    """Returns this process among those that a launcher of the user's has started, and how many there are or will be.

    Args:
        given: `launch.np` of the command line; None if it is not there.
        by_horovod: Whether the processes exchange tensors.

    Raises:
        UserError: It is no number, or a launcher has decided it, or there is no Horovod.
    """
    die_with_parent()
    world = from_environment()
    if given is not None and not (given.isascii() and given.isdigit() and 1 <= int(given) <= 10**9):
        raise UserError(f"launch.np must be a whole number from 1 to 1e9, got {given}; leave it out for one process")
    if world is not None:
        if given is not None and int(given) != world.size:
            raise UserError(
                f"launch.np must be {world.size}, the number of processes of the launcher, got {given}; leave it out"
            )
        return world, world.size
    processes = 1 if given is None else int(given)
    if by_horovod and processes > 1 and find_spec("horovod") is None:
        raise UserError(HOROVOD_MISSING)
    return None, processes


def run_once(
    command: Sequence[str],
    load: Callable[[], Rank],
    *,
    launch: Launch,
    directory: RunDirectory,
    processes: int,
    by_horovod: bool,
) -> int:
    """Starts the processes of a command once and returns its exit code; a failure has been printed.

    Args:
        command: See `rank_spawner`.
        load: See `rank_spawner`.
        launch: Of the run's configuration.
        directory: Where the ranks have their logs; the run itself may be in training.
        processes: P.
        by_horovod: Whether they exchange tensors.
    """
    if by_horovod:
        require_loopback()
    directory.clear_failures()
    announce(processes)
    spawner = rank_spawner(command, load)
    launcher = on_this_machine(lambda attempt: spawner, launch, directory, by_horovod=by_horovod)
    result = launcher.run(Attempt(processes=processes))
    if result.outcome is Outcome.STOPPED:
        logger.info(f"stopped by {signal.Signals(result.code - 128).name}")
    elif result.cause is not None:
        logger.error(result.cause)
    return result.code
