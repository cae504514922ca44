"""From a command line to a checked configuration and a run directory, for every command that trains."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfscale import user_paths
from tfscale.config import checks, follow_up, preflight, saved
from tfscale.config.overrides import Override, key_of, parse, separate
from tfscale.config.preflight import Composed
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError
from tfscale.launchers import gpus
from tfscale.runs import run_directory
from tfscale.runs.run_directory import RunDirectory


def config_of(overrides: Sequence[str], config_dir: str | None) -> Composed:
    """The configuration of a new run with the options that were chosen, or the saved one of the run to resume."""
    parsed = parse(overrides)
    given, _ = separate(parsed, ("resume", "run.name", "run.dir")) if _resumes(parsed) else ({}, [])
    if given.get("run.name", "null") != "null":
        return Composed(saved.read(user_paths.expanded(given.get("run.dir", "runs")) / given["run.name"], parsed), {})
    composed = preflight.composed(overrides, config_dir=config_dir)
    config = composed.config
    if config.resume and config.run.name is not None:  # said in a recipe or in the user's own file
        return Composed(saved.read(checks.run_folder(config), parsed), {})
    return composed


def _resumes(parsed: Sequence[Override]) -> bool:
    return any(key_of(each) == "resume" and not each.is_sweep_override() and each.value() is True for each in parsed)


def processes_of(config: Config) -> int:
    """Number of processes that the job will have, before any is started."""
    if config.launch.np != "auto":
        return config.launch.np
    if not checks.uses_horovod(config, 1):
        return 1
    replicas = config.strategy.get("replicas", "auto")
    devices = gpus.count() or 2
    return devices if replicas == "auto" else min(devices, replicas)


def directory_of(config: Config, choices: Mapping[str, str]) -> RunDirectory:
    """The run directory: that of the parent, that of the run to resume, or a new one.

    Args:
        config: Of the job.
        choices: Group -> option, as typed; names a new run.
    """
    directory = _directory_of(config, choices)
    note_path(directory.path)
    directory.resume_command = follow_up.command("resume", directory.path, config.trust)
    return directory


def note_path(path: Path) -> None:
    """Tells whoever has started this command where the run lies, once."""
    file = os.environ.pop(run_directory.PATH_FILE, None)
    if file is not None:
        Path(file).write_text(str(path.absolute()), encoding="utf-8")


def _directory_of(config: Config, choices: Mapping[str, str]) -> RunDirectory:
    if run_directory.started_by_us():
        return RunDirectory(Path(os.environ[run_directory.VARIABLE]))
    if config.resume:
        return RunDirectory(checks.run_folder(config))
    model = config.model["_target_"].rsplit(".", 1)[-1]
    data = str(config.data.get("name") or config.data["_target_"].rsplit(".", 1)[-1])
    return new_directory(config, f"{model}-{data}-{choices.get('strategy', 'strategy')}".lower())


def new_directory(config: Config, stem: str) -> RunDirectory:
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
