"""`tfscale train`: checks the configuration, then trains here, starts processes that train, or runs a sweep."""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tfscale import user_paths
from tfscale.commands import finished, launching
from tfscale.config import checks, inspect, preflight, saved
from tfscale.config.overrides import Override, key_of, parse, quoted, separate
from tfscale.config.schemas.config import Config
from tfscale.errors import RunError, UserError
from tfscale.launchers import gpus
from tfscale.launchers.hosts import HostsLauncher
from tfscale.launchers.rendezvous import require_loopback
from tfscale.launchers.spawn import Spawner, die_with_parent
from tfscale.runs import run_directory
from tfscale.runs.run_directory import RunDirectory
from tfscale.search import sweep
from tfscale.search.grid import Combination, expand
from tfscale.startup_noise import hidden_startup_noise
from tfscale.supervision.attempt import Attempt, Launcher
from tfscale.supervision.signals import Stopped
from tfscale.supervision.supervisor import Policy, Supervisor
from tfscale.terminal import logger, survive_write_errors
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
        return train(flags.overrides, flags.config_dir)
    if from_environment() is not None:
        raise UserError("-m starts processes for each job itself; type it without horovodrun, mpirun or srun")
    return _sweep(flags.overrides, flags.config_dir)


def train(overrides: Sequence[str], config_dir: str | None) -> int:
    """Trains in this process, or supervises processes that train.

    Args:
        overrides: KEY=VALUE words.
        config_dir: The user's own conf/ folder.
    """
    die_with_parent()
    world = from_environment()
    config = _config(overrides, config_dir)
    processes = world.size if world is not None else _processes(config)
    config = preflight.check_job(config, processes=processes)
    if config.resume and not run_directory.started_by_us() and (told := finished.message(config)) is not None:
        if world is None or world.is_chief:
            print(told)
        return 0
    if world is None and _is_supervised(config, processes):
        words = [*overrides, *([] if config_dir is None else ["--config-dir", config_dir])]
        return _launch(config, words, processes)
    world = world or World()
    given = run_directory.started_by_us()
    directory = _directory(config) if world.is_chief or given else None
    with nullcontext() if directory is None or given else directory.locked():
        if directory is not None and not given:
            directory.clear_failures()
        if world.is_chief and not given:
            launching.announce(world.size)
        with hidden_startup_noise():
            from tfscale.job.train import run_rank
        return run_rank(config, world, directory)


def _config(overrides: Sequence[str], config_dir: str | None) -> Config:
    """The configuration of a new run, or the saved one of the run to resume."""
    parsed = parse(overrides)
    given, _ = separate(parsed, ("resume", "run.name", "run.dir")) if _resumes(parsed) else ({}, [])
    if given.get("run.name", "null") != "null":
        return saved.read(user_paths.expanded(given.get("run.dir", "runs")) / given["run.name"], parsed)
    config = preflight.preflight(overrides, config_dir=config_dir)
    if config.resume and config.run.name is not None:  # said in a recipe or in the user's own file
        return saved.read(checks.run_folder(config), parsed)
    return config


def _resumes(parsed: Sequence[Override]) -> bool:
    return any(key_of(each) == "resume" and not each.is_sweep_override() and each.value() is True for each in parsed)


def _processes(config: Config) -> int:
    """Number of processes that the job will have, before any is started."""
    if config.launch.np != "auto":
        return config.launch.np
    if not checks.uses_horovod(config, 1):
        return 1
    replicas = config.strategy.get("replicas", "auto")
    devices = gpus.count() or 2
    return devices if replicas == "auto" else min(devices, replicas)


def _directory(config: Config) -> RunDirectory:
    """The run directory: that of the parent, that of the run to resume, or a new one."""
    if run_directory.started_by_us():
        return RunDirectory(Path(os.environ[run_directory.VARIABLE]))
    if config.resume:
        return RunDirectory(checks.run_folder(config))
    model = config.model["_target_"].rsplit(".", 1)[-1]
    data = str(config.data.get("name") or config.data["_target_"].rsplit(".", 1)[-1])
    module = config.strategy["_target_"].rpartition(".")[0].removeprefix("tfscale.strategies.")
    strategy = module.partition(".")[0] or "strategy"
    return _new_directory(config, f"{model}-{data}-{strategy}".lower())


def _new_directory(config: Config, stem: str) -> RunDirectory:
    """Makes the folder of a new run or sweep.

    Raises:
        UserError: It cannot be made, or the name is taken.
    """
    folder, name = user_paths.expanded(config.run.dir), config.run.name
    if name is not None and user_paths.is_dir(folder / name) and not saved.exists(folder / name):
        raise UserError(
            f"run.name={name} exists in {folder} and cannot be resumed: it is a sweep or another folder; give another "
            "run.name (tfscale runs lists runs and the jobs of sweeps)"
        )
    return run_directory.create(folder, name, stem)


def _is_supervised(config: Config, processes: int) -> bool:
    """True if a parent starts and watches the ranks; if not, this process trains, where a debugger can reach it."""
    watched = config.launch.max_restarts > 0 or config.launch.hang_timeout is not None
    return processes > 1 or checks.uses_horovod(config, processes) or watched


def _launch(config: Config, words: Sequence[str], processes: int) -> int:
    by_horovod = checks.uses_horovod(config, processes)
    if by_horovod:
        if config.launch.hosts is None:
            require_loopback()
        config = preflight.with_replicas(config, processes)
    directory = _directory(config)
    launch = config.launch
    with directory.locked():
        if not saved.exists(directory.path):  # before anything starts, so that the run can be resumed
            try:
                saved.write(config, directory.path)
            except OSError as error:
                directory.discard()
                raise RunError(f"run.dir={directory.path.parent} cannot be written to: {error.strerror}") from None
        launching.announce(processes)
        policy = Policy(max_restarts=launch.max_restarts, min_np=launch.min_np, watches=launch.hang_timeout is not None)
        on_hosts = launch.hosts is not None
        if on_hosts:
            launcher = _on_hosts(config, words, directory)
        else:
            spawner = _rank_spawner(config, words, directory)
            launcher = launching.on_this_machine(spawner, launch, directory, by_horovod=by_horovod)
        code = Supervisor(launcher, directory=directory, policy=policy).run(processes)
    if code == 2:
        directory.discard()
    return code


def _on_hosts(config: Config, words: Sequence[str], directory: RunDirectory) -> Launcher:
    """Launcher of a job on several hosts."""
    launch, began = config.launch, time.monotonic()

    def command(attempt: Attempt) -> Sequence[str]:
        return [*launching.TFSCALE, "train", *(_again(config, words, directory, began) if attempt.restarts else words)]

    return HostsLauncher(
        command,
        hosts=launch.hosts or (),
        interface=launch.network_interface,
        start_timeout=launch.start_timeout,
        directory=directory,
    )


def _again(config: Config, words: Sequence[str], directory: RunDirectory, began: float) -> list[str]:
    """Arguments of a rank that resumes a run whose job was started with `words` at `began`, in monotonic seconds."""
    left = _time_left(config, began)
    limit = [] if left is None else [f"train.max_time={left:.3f}"]
    if config.resume:  # with the values that the user changed
        return [*words, *limit]
    path, trust = directory.path.absolute(), [f"trust=[{','.join(config.trust)}]"] if config.trust else []
    return ["resume=true", f"run.name={path.name}", f"run.dir={quoted(str(path.parent))}", *trust, *limit]


def _time_left(config: Config, began: float) -> float | None:
    """Seconds left of `train.max_time` since `began`, in monotonic seconds; None if there is no limit."""
    return config.train.max_time and max(1e-3, config.train.max_time - (time.monotonic() - began))


def _rank_spawner(config: Config, words: Sequence[str], directory: RunDirectory) -> Callable[[Attempt], Spawner]:
    """Returns what makes the spawner of an attempt's ranks."""
    path = directory.path.absolute()
    began = time.monotonic()

    def spawner(attempt: Attempt) -> Spawner:
        restarts = attempt.restarts
        own = config
        if restarts:
            train = config.train.model_copy(update={"max_time": _time_left(config, began)})
            own = config.model_copy(update={"resume": True, "train": train})

        def load() -> launching.Rank:
            from tfscale.job.train import run_rank

            def rank() -> int:
                directory.release_inherited_lock()
                return run_rank(own, from_environment() or World(), RunDirectory(path))

            return rank

        return launching.rank_spawner(
            ["train", *(_again(config, words, directory, began) if restarts else words)], load
        )

    return spawner


def _sweep(overrides: Sequence[str], config_dir: str | None) -> int:
    """Checks every job of the sweep, then runs them one after the other."""

    from tfscale.tracking.tables import person_console, results_table

    jobs = expand(parse(overrides))
    problems = []
    configs = []
    for job in jobs:
        try:
            config = _config(job.overrides, config_dir)
            configs.append(preflight.check_job(config, processes=_processes(config)))
        except UserError as error:
            what = " ".join(f"{key}={value}" for key, value in job.varied.items())
            problems += [f"job {job.number} ({what}): {problem}" for problem in error.problems]
    if problems:
        raise UserError(*dict.fromkeys(problems))
    folder = _new_directory(configs[0], "sweep").path
    survive_write_errors("stdout")
    console = person_console()
    console.print(f"{len(jobs)} jobs in {folder}", highlight=False, markup=False)

    def tell(job: Combination, row: Mapping[str, Any]) -> None:
        what = " ".join(f"{key}={value}" for key, value in job.varied.items())
        done = row["status"] == "done"
        more = f" ({row['seconds']:.1f} s of training)" if done else f"; {sweep.last_line(folder, job)}"
        console.print(
            f"{job.number + 1}/{len(jobs)}  {what}  {row['status']} in {row['wall_seconds']:.1f} s{more}",
            highlight=False,
            markup=False,
        )

    flags = [] if config_dir is None else ["--config-dir", config_dir]
    try:
        rows = sweep.run_all(jobs, folder, flags, tell)
    except Stopped as stopped:
        logger.info(f"stopped by {stopped.name}; finished jobs are in {folder / 'summary.csv'}")
        return stopped.exit_code
    results_table(console, f"sweep {folder.name}", rows)
    console.print(f"  {folder / 'summary.csv'}", highlight=False, markup=False, soft_wrap=True)
    return 0 if all(row["status"] == "done" for row in rows) else 1
