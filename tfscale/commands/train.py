"""`tfscale train`: checks the configuration, then trains here, starts processes that train, or runs a sweep."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tfscale.commands import finished, launching, prepare, sweeps
from tfscale.config import checks, inspect, preflight, saved
from tfscale.config.overrides import parse, quoted
from tfscale.config.preflight import Composed
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import candidates_of
from tfscale.errors import RunError, UserError
from tfscale.launchers.hosts import HostsLauncher
from tfscale.launchers.rendezvous import require_loopback
from tfscale.launchers.spawn import Spawner, die_with_parent
from tfscale.runs import provenance, run_directory
from tfscale.runs.run_directory import RunDirectory
from tfscale.search import sweep
from tfscale.startup_noise import hidden_startup_noise
from tfscale.supervision.attempt import Attempt, Launcher
from tfscale.supervision.supervisor import Policy, Supervisor
from tfscale.world import World, from_environment


def main(flags: argparse.Namespace) -> int:
    """Prints a configuration, runs a sweep, or trains.

    Raises:
        UserError: Options exclude each other, or the configuration is wrong.
    """
    if flags.cfg is not None or flags.info is not None:
        if flags.multirun:
            raise UserError("--cfg and --info show one job; leave out -m and give each key one value")
        return inspect.show(flags.overrides, config_dir=flags.config_dir, info=flags.info)
    if not flags.multirun:
        return train(flags.overrides, flags.config_dir, flags.command)
    if from_environment() is not None:
        raise UserError("-m starts processes for each job itself; type it without horovodrun, mpirun or srun")
    return sweeps.run(flags.overrides, flags.config_dir, flags.command)


def train(overrides: Sequence[str], config_dir: str | None, command: Sequence[str]) -> int:
    """Trains in this process, or supervises processes that train.

    Args:
        overrides: KEY=VALUE words.
        config_dir: The user's own conf/ folder.
        command: The words of the command line that the user typed.
    """
    die_with_parent()
    composed = prepare.config_of(overrides, config_dir)
    own = [] if config_dir is None else ["--config-dir", config_dir]
    return start(composed, Typed(command=command, overrides=overrides, again=[*overrides, *own]))


@dataclass(frozen=True, kw_only=True)
class Typed:
    """The command line that starts a job.

    Attributes:
        command: Its words, as typed.
        overrides: KEY=VALUE words of this run.
        again: Arguments with which a rank composes the same configuration; None if it has to read the saved one.
        facts: For environment.json.
    """

    command: Sequence[str]
    overrides: Sequence[str]
    again: Sequence[str] | None
    facts: Mapping[str, object] = field(default_factory=dict)


def start(composed: Composed, typed: Typed, create: Callable[[Config], RunDirectory] | None = None) -> int:
    """Trains in this process, or supervises processes that train; every run of every command begins here.

    Args:
        composed: The configuration, valid key by key.
        typed: Where it comes from.
        create: Returns its run directory; None for the one that the configuration names.
    """
    world, given, began = from_environment(), run_directory.started_by_us(), time.monotonic()
    processes = world.size if world is not None else prepare.processes_of(composed.config)
    config = preflight.check_job(composed.config, processes=processes)
    if config.resume and not given and (result := finished.message(config)) is not None:
        if world is None or world.is_chief:
            prepare.note_path(checks.run_folder(config))
            print(result)
        return 0
    supervised = world is None and _is_supervised(config, processes)
    if supervised and checks.uses_horovod(config, processes):
        if config.launch.hosts is None:
            require_loopback()
        config = preflight.with_replicas(config, processes)
    world = world or World()
    directory = None
    if world.is_chief or given:
        directory = prepare.directory_of(config, composed.choices) if create is None else create(config)
    with nullcontext() if directory is None or given else directory.locked():
        if directory is not None and not given:
            if supervised:
                _save(config, directory)
            chosen = {"choices": dict(composed.choices)} if composed.choices else {}
            provenance.begin(directory.environment, typed.command, typed.overrides, **chosen, **typed.facts)
            launching.announce(processes)
        if supervised and directory is not None:
            code = _supervise(config, typed, processes, directory)
        else:
            code = _train(config, world, directory)
    if directory is not None and not given:
        if code == 2 and supervised:
            directory.discard()
        elif config.resume:
            sweep.update_row(directory.path, code, time.monotonic() - began)
    return code


def _train(config: Config, world: World, directory: RunDirectory | None) -> int:
    """Trains in this process."""
    if directory is not None and not run_directory.started_by_us():
        directory.clear_failures()
    with hidden_startup_noise():
        from tfscale.job.train import run_rank
    return run_rank(config, world, directory)


def _is_supervised(config: Config, processes: int) -> bool:
    """True if a parent starts and watches the ranks; if not, this process trains, where a debugger can reach it."""
    watched = config.launch.max_restarts > 0 or config.launch.hang_timeout is not None
    return processes > 1 or checks.uses_horovod(config, processes) or watched


def _save(config: Config, directory: RunDirectory) -> None:
    """Saves the configuration of a new run before anything starts, so that the run can be resumed."""
    if saved.exists(directory.path):
        return
    try:
        saved.write(config, directory.path)
    except OSError as error:
        directory.discard()
        raise RunError(f"run.dir={directory.path.parent} cannot be written to: {error.strerror}") from None


def _supervise(config: Config, typed: Typed, processes: int, directory: RunDirectory) -> int:
    """Starts processes that train, and starts them again after a fault."""
    launch = config.launch
    grouped = config.strategy.get("group", 1) > 1  # a group is in one process: one process less would cut it
    policy = Policy(
        max_restarts=launch.max_restarts,
        min_np=processes if grouped else launch.min_np,
        watches=launch.hang_timeout is not None,
    )
    if launch.hosts is not None:
        launcher = _on_hosts(config, typed.again, directory)
    else:
        by_horovod = checks.uses_horovod(config, processes)
        spawner = _rank_spawner(config, typed.again, directory)
        launcher = launching.on_this_machine(spawner, launch, directory, by_horovod=by_horovod)
    return Supervisor(launcher, directory=directory, policy=policy).run(processes)


def _on_hosts(config: Config, words: Sequence[str] | None, directory: RunDirectory) -> Launcher:
    """Launcher of a job on several hosts."""
    launch, began = config.launch, time.monotonic()

    def command(attempt: Attempt) -> Sequence[str]:
        return [*launching.TFSCALE, "train", *_arguments(config, words, directory, attempt.restarts, began)]

    return HostsLauncher(
        command,
        hosts=launch.hosts or (),
        interface=launch.network_interface,
        start_timeout=launch.start_timeout,
        directory=directory,
    )


def _arguments(
    config: Config, words: Sequence[str] | None, directory: RunDirectory, restarts: int, began: float
) -> list[str]:
    """Arguments of a rank of a job that was started with `words` at `began`, in monotonic seconds."""
    if words is not None and not restarts:
        return list(words)
    left = _time_left(config, began)
    limit = [] if left is None else [f"train.max_time={left:.3f}"]
    if words is not None and config.resume:  # with the values that the user changed
        return [*words, *limit]
    path, trust = directory.path.absolute(), [f"trust=[{','.join(config.trust)}]"] if config.trust else []
    return ["resume=true", f"run.name={path.name}", f"run.dir={quoted(str(path.parent))}", *trust, *limit]


def _time_left(config: Config, began: float) -> float | None:
    """Seconds left of `train.max_time` since `began`, in monotonic seconds; None if there is no limit."""
    return config.train.max_time and max(1e-3, config.train.max_time - (time.monotonic() - began))


def with_saved_choice(config: Config, run: Path) -> Config:
    """Returns the configuration with the strategy that the job has chosen before it was started again."""
    if not candidates_of(config):
        return config
    trusted = parse([f"trust=[{','.join(config.trust)}]"] if config.trust else [])
    before = saved.read(run, trusted)
    if candidates_of(before):  # it has ended before it chose
        return config
    return config.model_copy(update={"strategy": before.strategy, "optimizer": before.optimizer})


def _rank_spawner(config: Config, words: Sequence[str] | None, directory: RunDirectory) -> Callable[[Attempt], Spawner]:
    """Returns what makes the spawner of an attempt's ranks."""
    path = directory.path.absolute()
    began = time.monotonic()

    def spawner(attempt: Attempt) -> Spawner:
        restarts = attempt.restarts
        own = config
        if restarts:
            train = config.train.model_copy(update={"max_time": _time_left(config, began)})
            own = with_saved_choice(config, path).model_copy(update={"resume": True, "train": train})

        def load() -> launching.Rank:
            from tfscale.job.train import run_rank

            def rank() -> int:
                directory.release_inherited_lock()
                return run_rank(own, from_environment() or World(), RunDirectory(path))

            return rank

        return launching.rank_spawner(["train", *_arguments(config, words, directory, restarts, began)], load)

    return spawner
