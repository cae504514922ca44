"""Checks rules between keys, of a configuration whose single keys are valid."""

import importlib
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tfscale.config import transfer
from tfscale.config.schemas import data as data_schemas
from tfscale.config.schemas import trackers as tracker_schemas
from tfscale.config.schemas.common import own_options
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import settings_of
from tfscale.errors import HOROVOD_MISSING, UserError

RESERVED = frozenset(
    (
        *("kind", "step", "loss", "name", "words", "run", "metrics", "directory", "ended_early", "best", "best_step"),
        *("best_metric", "directions"),
        *("steps", "epochs", "examples", "seconds", "samples_per_second", "training_seconds", "first_step_seconds"),
        *("bytes_sent", "bytes_dense", "bytes_ratio", "parameters_sha256", "replicas", "processes"),
        *("skipped_steps", "skipped_examples"),
        *("mean_seconds", "mean_data_seconds", "data_seconds", "data_share", "learning_rate", "loss_scale"),
        *("batch", "global_batch", "trainable_parameters", "job", "status", "wall_seconds"),
    )
)
"""Keys of records, of summary.json and of a sweep's table: a metric of that name would take their place."""


AUTO = "auto"
"""Key of `metrics` that stands for those of the task."""


def is_reserved(metric: str) -> bool:
    """Returns whether a metric's name is that of a figure which every run has."""
    return metric in RESERVED or metric.startswith("val_")


def uses_horovod(config: Config, processes: int) -> bool:
    """Returns whether the collective of the strategy exchanges between processes by Horovod."""
    target = collective_of(config)
    return target == "tfscale.collectives.horovod.Horovod" or (target == "auto" and processes > 1)


def collective_of(config: Config) -> str:
    """Returns the `_target_` of the collective; auto if a strategy of the user's own has none."""
    return config.strategy.get("collective", {}).get("_target_", "auto")


def problems_of(config: Config, processes: int) -> list[str]:
    """Returns a message for each rule that the configuration breaks.

    Args:
        config: Valid key by key.
        processes: Number of processes that the job has or will have.
    """
    return [
        *_train(config),
        *_strategy(config),
        *_processes(config, processes),
        *_optimizer(config),
        *_schedule(config),
        *_monitors(config),
        *_metrics(config),
        *_trackers(config),
        *problems_of_data(config),
        *transfer.problems_of(config),
    ]


def _train(config: Config) -> list[str]:
    problems = []
    if config.train.steps is None and config.train.epochs is None:
        problems.append("train.epochs and train.steps are both null; set one of them")
    if config.train.accumulate > config.train.batch:
        problems.append(
            f"train.accumulate must be <= train.batch={config.train.batch}, got {config.train.accumulate}; a part must "
            "have at least one example"
        )
    if config.train.precision == "float16" and config.train.nonfinite != "skip":
        problems.append(
            f"train.precision=float16 must have train.nonfinite=skip, got {config.train.nonfinite}: the loss scale is "
            "found by steps that are skipped; or set train.precision=bfloat16"
        )
    if config.resume and config.run.name is None:
        problems.append("resume=true must have the run's name; type run.name=NAME (`ls` in the folder run.dir)")
    return problems


def _trackers(config: Config) -> list[str]:
    problems = []
    for name, node in config.tracker.items():
        package = tracker_schemas.PACKAGES.get(node["_target_"])
        if package is not None and find_spec(package) is None:
            problems.append(
                f"tracker={name} must have the package {package}, and it is not there; "
                f"type: pip install 'tfscale[{package}]'"
            )
        problems += _problems_of_own_check(f"tracker.{name}", node, tracker_schemas.CHECKS)
    return problems


def _strategy(config: Config) -> list[str]:
    settings = settings_of(config.strategy["_target_"])
    return [] if settings is None else settings.problems_of(config)


def _processes(config: Config, processes: int) -> list[str]:
    replicas = config.strategy.get("replicas", "auto")
    target = collective_of(config)
    problems = []
    if target == "tfscale.collectives.in_process.InProcess" and processes > 1:
        problems.append(
            f"strategy/collective=in_process holds all replicas in one process, but the job has {processes}; "
            "set strategy/collective=horovod, or launch.np=1"
        )
    elif replicas != "auto" and replicas < processes:
        problems.append(
            f"strategy.replicas must be >= the number of processes ({processes}), got {replicas}; "
            "leave strategy.replicas=auto for one a process"
        )
    elif not _fits_groups(config, processes):
        group = config.strategy["group"]
        problems.append(
            f"strategy.replicas must be a multiple of {group * processes}, strategy.group times the number of "
            f"processes ({processes}), got {replicas}; set strategy.replicas or launch.np"
        )
    if uses_horovod(config, processes) and find_spec("horovod") is None:
        problems.append(HOROVOD_MISSING)
    if config.launch.hosts is not None and config.launch.np == "auto":
        problems.append("launch.hosts must come with the number of processes; type launch.np=N")
    elif not uses_horovod(config, processes) and (config.launch.hosts is not None or processes > 1) and not problems:
        problems.append(
            f"this strategy's collective ({target}) does not go between processes, but launch asks for {processes}; "
            "set strategy/collective=horovod, or launch.np=1 and launch.hosts=null"
        )
    return problems


def _fits_groups(config: Config, processes: int) -> bool:
    """Returns whether each group of replicas is in one process."""
    replicas, group = config.strategy.get("replicas", "auto"), config.strategy.get("group", 1)
    replicas = processes if replicas == "auto" else replicas
    return group == 1 or processes == 1 or replicas % (group * processes) == 0


def _optimizer(config: Config) -> list[str]:
    clips = [key for key in ("clipnorm", "global_clipnorm", "clipvalue") if config.optimizer.get(key) is not None]
    if len(clips) > 1:
        return [f"only one of {' and '.join(f'optimizer.{key}' for key in clips)} can be set; set the others to null"]
    return []


def _schedule(config: Config) -> list[str]:
    schedule: Mapping[str, Any] = config.schedule
    least, rate = schedule.get("min_learning_rate", 0.0), config.optimizer.get("learning_rate")
    if isinstance(rate, float) and least > rate:
        return [f"schedule.min_learning_rate must be <= optimizer.learning_rate={rate:g}, got {least:g}; lower it"]
    boundaries = schedule.get("boundaries", [])
    if sorted(set(boundaries)) != list(boundaries):
        return [f"schedule.boundaries must rise, got {boundaries}; sort them"]
    if "boundaries" in schedule and len(schedule["factors"]) != len(schedule["boundaries"]) + 1:
        return [
            f"schedule.factors must be one more than schedule.boundaries, got {len(schedule['factors'])} and "
            f"{len(schedule['boundaries'])}"
        ]
    return []


def _monitors(config: Config) -> list[str]:
    measured = ["loss", *config.metrics]
    if AUTO in config.metrics:  # the task's metrics are not known here
        return []
    monitors = {"early_stopping": config.early_stopping.get("monitor"), "schedule": config.schedule.get("monitor")}
    return [
        f"{node}.monitor must be one of {', '.join(measured)}, got {monitor}; or add a metric of that name"
        for node, monitor in monitors.items()
        if monitor is not None and monitor not in measured
    ]


def _metrics(config: Config) -> list[str]:
    taken = [name for name in config.metrics if is_reserved(name)]
    return [
        f"metrics.{name} must have another name: {name} is a figure of every run's own; type +metrics.my_{name}=..."
        for name in taken
    ]


def problems_of_data(config: Config) -> list[str]:
    """Calls the source's own `check`, which looks at files without reading them; not every source has one."""
    return _problems_of_own_check("data", config.data, data_schemas.SCHEMAS)


def _problems_of_own_check(key: str, node: Mapping[str, Any], shipped: Collection[str]) -> list[str]:
    """Calls `check` of the module of a node's target, if it is one of those that may be imported and has it."""
    target = node["_target_"]
    if target not in shipped:
        return []
    check = vars(importlib.import_module(target.rpartition(".")[0])).get("check")
    if check is None:
        return []
    try:
        check(**own_options(key, node))
    except UserError as error:
        return list(error.problems)
    return []


def run_folder(config: Config) -> Path:
    """Returns the folder of the run that the configuration names."""
    return Path(config.run.dir).expanduser() / str(config.run.name)
