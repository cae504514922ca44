"""tfscale train: checks the settings, then trains here, starts processes that do, or sweeps.

usage: tfscale train [KEY=VALUE ...] [-m] [--config-dir DIR] [--cfg job] [--info [WHAT]]

  KEY=VALUE         a group's option (strategy=sharing) or a value (train.batch=64); `tfscale ls` lists groups
  -m, --multirun    values separated by commas make a sweep: strategy=local,sharing optimizer.learning_rate=0.01,0.05
  --config-dir DIR  a folder of your own with options and recipes; its files come before the shipped ones
  --cfg job         print the configuration instead of training
  --info WHAT       print how Hydra composed it: defaults, defaults-tree, config, searchpath

  tfscale train resume=true run.name=NAME   go on with a run that ended early
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tfscale.config import checks, inspect, preflight
from tfscale.config.overrides import key_of, parse
from tfscale.config.schemas.config import Config
from tfscale.errors import RunError, UserError
from tfscale.launchers import gpus
from tfscale.launchers.hosts import HostsLauncher
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.rendezvous import require_loopback
from tfscale.launchers.spawn import Spawner, die_with_parent, spawn_command, spawn_fork
from tfscale.runs import run_directory
from tfscale.runs.run_directory import RunDirectory
from tfscale.search import sweep
from tfscale.search.grid import Combination, expand
from tfscale.startup_noise import hidden_startup_noise, hidden_stderr
from tfscale.supervision.attempt import Attempt, Launcher
from tfscale.supervision.signals import Stopped
from tfscale.supervision.supervisor import Policy, Supervisor
from tfscale.terminal import logger, survive_write_errors
from tfscale.world import World, from_environment

TRAIN = (sys.executable, "-m", "tfscale", "train")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{message}; type: tfscale train --help")


def _parse(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(prog="tfscale train", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--config-dir", "-cd", default=None)
    parser.add_argument("--cfg", "-c", choices=["job"], default=None)
    parser.add_argument("--info", "-i", nargs="?", const="all", default=None, choices=inspect.INFO)
    parser.add_argument("overrides", nargs="*")
    flags, rest = parser.parse_known_intermixed_args(list(words))
    return flags, [*flags.overrides, *rest]


def main(words: Sequence[str]) -> int:
    """Runs `tfscale train`; see the module's docstring."""
    die_with_parent()
    flags, overrides = _parse(words)
    if flags.help:
        print(__doc__)
        return 0
    if flags.cfg is not None or flags.info is not None:
        if flags.multirun:
            raise UserError("--cfg and --info show one job; leave out -m and give each key one value")
        return inspect.show(overrides, config_dir=flags.config_dir, info=flags.info)
    world = from_environment()
    if flags.multirun:
        if world is not None:
            raise UserError("-m starts processes for each job itself; type it without horovodrun, mpirun or srun")
        return _sweep(overrides, flags.config_dir)
    config = _config(overrides, flags.config_dir)
    processes = world.size if world is not None else _processes(config)
    config = preflight.check_job(config, processes=processes)
    if world is None and _is_supervised(config, processes):
        return _launch(config, words, processes)
    world = world or World()
    given = run_directory.started_by_us()
    directory = _directory(config) if world.is_chief or given else None
    with nullcontext() if directory is None or given else directory.locked():
        if directory is not None and not given:
            directory.clear_failures()
        if world.is_chief and not given:
            _announce(world.size)
        with hidden_startup_noise():
            from tfscale.job.train import run_rank
        return run_rank(config, world, directory)


def _announce(processes: int) -> None:
    """Prints that the job starts, at once: TensorFlow takes seconds to load."""
    from tfscale.tracking.console import person_console

    survive_write_errors("stdout")
    noun = "process" if processes == 1 else "processes"
    person_console().print(f"starting {processes} {noun}", highlight=False)


def _config(overrides: Sequence[str], config_dir: str | None) -> Config:
    """The configuration of a new run, or the saved one of the run to go on with."""
    given = {key_of(each): each.value() for each in parse(overrides) if not each.is_sweep_override()}
    if given.get("resume") is True and given.get("run.name") is not None:
        return preflight.saved(Path(str(given.get("run.dir", "runs"))).expanduser() / str(given["run.name"]), overrides)
    config = preflight.preflight(overrides, config_dir=config_dir)
    if config.resume and config.run.name is not None:  # a recipe or a file of the user's own says so
        return preflight.saved(checks.run_folder(config), overrides)
    return config


def _processes(config: Config) -> int:
    """How many processes the job will have when none has been started yet."""
    if config.launch.np != "auto":
        return config.launch.np
    if not checks.uses_horovod(config, 1):
        return 1
    replicas = config.strategy.get("replicas", "auto")
    devices = gpus.count() or 2
    return devices if replicas == "auto" else min(devices, replicas)


def _directory(config: Config) -> RunDirectory:
    """The run's folder: the parent's, the one to resume, or a new one."""
    if run_directory.started_by_us():
        return RunDirectory(Path(os.environ[run_directory.VARIABLE]))
    if config.resume:
        return RunDirectory(checks.run_folder(config))
    model = config.model["_target_"].rsplit(".", 1)[-1]
    data = str(config.data.get("name") or config.data["_target_"].rsplit(".", 1)[-1])
    modules = config.strategy["_target_"].split(".")[:-1] or ["strategy"]
    strategy = modules[-2] if modules[-1] == "strategy" and len(modules) > 1 else modules[-1]
    return run_directory.create(
        Path(config.run.dir).expanduser(), config.run.name, f"{model}-{data}-{strategy}".lower()
    )


def _is_supervised(config: Config, processes: int) -> bool:
    """Whether a parent starts what trains. One process that nobody is to watch trains here: a debugger can reach it."""
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
        if not (directory.path / preflight.SAVED).is_file():  # so that it can be resumed, whatever happens
            try:
                preflight.write(config, directory.path)
            except OSError as error:
                directory.discard()
                raise RunError(f"run.dir={directory.path.parent} cannot be written to: {error.strerror}") from None
        _announce(processes)
        policy = Policy(max_restarts=launch.max_restarts, min_np=launch.min_np, watches=launch.hang_timeout is not None)
        on_hosts = launch.hosts is not None
        launcher = _on_hosts(config, words, directory) if on_hosts else _here(config, words, directory, by_horovod)
        code = Supervisor(launcher, directory=directory, policy=policy).run(processes)
    if code == 2:
        directory.discard()
    return code


def _on_hosts(config: Config, words: Sequence[str], directory: RunDirectory) -> Launcher:
    """Launcher of a job on several hosts."""
    launch, began = config.launch, time.monotonic()

    def command(attempt: Attempt) -> Sequence[str]:
        return [*TRAIN, *(_again(config, words, directory, began) if attempt.restarts else words)]

    return HostsLauncher(
        command,
        hosts=launch.hosts or (),
        interface=launch.network_interface,
        start_timeout=launch.start_timeout,
        directory=directory,
    )


def _here(config: Config, words: Sequence[str], directory: RunDirectory, by_horovod: bool) -> Launcher:
    """Launcher of a job on this machine."""
    return LocalLauncher(
        _rank_spawner(config, words, directory),
        directory=directory,
        start_timeout=config.launch.start_timeout,
        interface=config.launch.network_interface,
        by_horovod=by_horovod,
    )


def _again(config: Config, words: Sequence[str], directory: RunDirectory, began: float) -> list[str]:
    """The words with which a rank goes on with a run whose job was started with `words`, at `began`."""
    left = _time_left(config, began)
    limit = [] if left is None else [f"train.max_time={left:.3f}"]
    if config.resume:  # changed settings included
        return [*words, *limit]
    path, trust = directory.path.absolute(), [f"trust=[{','.join(config.trust)}]"] if config.trust else []
    return ["resume=true", f"run.name={path.name}", f"run.dir='{path.parent}'", *trust, *limit]


def _time_left(config: Config, began: float) -> float | None:
    """Of `train.max_time`, since `began` in monotonic seconds; None if there is no limit."""
    return config.train.max_time and max(1e-3, config.train.max_time - (time.monotonic() - began))


def _rank_spawner(config: Config, words: Sequence[str], directory: RunDirectory) -> Callable[[Attempt], Spawner]:
    """Returns what makes the spawner of an attempt's ranks."""
    path = directory.path.absolute()
    began = time.monotonic()

    def spawner(attempt: Attempt) -> Spawner:
        restarts = attempt.restarts
        if not sys.platform.startswith("linux"):
            return spawn_command([*TRAIN, *(_again(config, words, directory, began) if restarts else words)])
        own = config
        if restarts:
            train = config.train.model_copy(update={"max_time": _time_left(config, began)})
            own = config.model_copy(update={"resume": True, "train": train})
        with hidden_stderr():  # TensorFlow is imported here, once, and used in the forks only
            from tfscale.job.train import run_rank

        def rank() -> int:
            directory.release_inherited_lock()
            with hidden_startup_noise():
                pass
            return run_rank(own, from_environment() or World(), RunDirectory(path))

        return spawn_fork(rank)

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
    run = configs[0].run
    folder = run_directory.create(Path(run.dir).expanduser(), run.name, "sweep").path
    survive_write_errors("stdout")
    console = person_console()
    console.print(f"{len(jobs)} jobs in {folder}", highlight=False)

    def tell(job: Combination, row: Mapping[str, Any]) -> None:
        what = " ".join(f"{key}={value}" for key, value in job.varied.items())
        more = "" if row["status"] == "done" else f"; {sweep.last_words(folder, job)}"
        console.print(
            f"{job.number + 1}/{len(jobs)}  {what}  {row['status']} in {row['seconds']:.1f} s{more}",
            highlight=False,
        )

    flags = [] if config_dir is None else ["--config-dir", config_dir]
    try:
        rows = sweep.run_all(jobs, folder, flags, tell)
    except Stopped as stopped:
        logger.info(f"stopped by {stopped.name}; finished jobs are in {folder / 'summary.csv'}")
        return stopped.exit_code
    results_table(console, f"sweep {folder.name}", rows)
    console.print(f"  {folder / 'summary.csv'}", highlight=False)
    return 0 if all(row["status"] == "done" for row in rows) else 1
