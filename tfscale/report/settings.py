"""Settings that differ: from the defaults for one run, between the runs for several; keys are as they are typed.

The defaults of an option are those of its file in conf/: `optimizer=adam` is one setting, not the ten keys of its
table. environment.json records the options of a run; those of an earlier run, which did not, are found by their
targets. A comparison shows the options that differ, and each key that some run has changed from its option's default.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from tfscale.config import preflight
from tfscale.config.compose import composer
from tfscale.dotted_keys import flattened
from tfscale.errors import UserError
from tfscale.report.read import Run

OWN = ("run.name", "run.dir", "resume", "trust", "launch.threads")
"""Keys of which every run has a value of its own; the threads in use are among the environment's."""

GROUPS = (
    *("model", "data", "task", "optimizer", "schedule", "loss", "strategy"),
    *("strategy/collective", "strategy/codec", "strategy/threshold"),
)
"""Groups whose option is known by the `_target_` of their node."""


def changed(run: Run) -> dict[str, tuple[str, str]]:
    """Returns key -> (value, default) of the settings of a run that are not the defaults; a group's option comes first.

    Keys of a node that no shipped option makes are all there: they have no default.
    """
    if not run.config:
        return {}
    options = _chosen(run)
    flat, defaults = flattened(run.config), flattened(_resolved(run, options))
    rows = {group: (option, "") for group, option in options.items()}
    for key, value in flat.items():
        if key not in OWN and shown(value) != shown(defaults.get(key, "")):
            rows[key] = (shown(value), shown(defaults[key]) if key in defaults else "")
    return rows


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Returns key -> the value of each run, of what was chosen differently; empty for a run without the key."""
    rows: dict[str, list[str]] = {}
    by_run = [changed(run) for run in runs]
    chosen = {key for each in by_run for key in each}
    for group in GROUPS:
        nodes = [_node(run.config, group) for run in runs]
        targets = {node.get("_target_") for node in nodes if isinstance(node, dict)}
        if len(targets) > 1 and (group in chosen or "/" not in group):  # codecs and the like follow from a strategy
            rows[group] = [_option_name(run, group) for run in runs]
    flat = [flattened(run.config) for run in runs]
    for key in dict.fromkeys(key for each in by_run for key in each):
        values = [shown(each[key]) if key in each else "" for each in flat]
        if key not in GROUPS and not key.endswith("_target_") and len(set(values)) > 1:
            rows[key] = values
    return rows


def shown(value: object) -> str:
    """A value as it is typed: null, true, 0.01, [1,2]."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and abs(value) < 1e15 and value == int(value):
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _chosen(run: Run) -> dict[str, str]:
    """Returns group -> option, of the nodes that are not those of the options chosen so far."""
    base = _defaults(())
    options: dict[str, str] = {}
    for group in GROUPS:
        node, default = _node(run.config, group), _node(base, group)
        if not isinstance(node, dict):
            continue
        before = tuple(options.items())
        option = _recorded(run, group, before)
        if option is not None:
            is_default = _node(_defaults((*before, (group, option))), group) == default
        else:
            is_default = isinstance(default, dict) and node.get("_target_") == default.get("_target_")
            option = None if is_default else _closest(node, group, before)
        if option is not None and not is_default:
            options[group] = option
            base = _defaults(tuple(options.items()))
    return options


def _recorded(run: Run, group: str, chosen: tuple[tuple[str, str], ...]) -> str | None:
    """Returns the option in environment.json; None if there is none, or the node of the run is not made by it."""
    choices, node = run.environment.get("choices"), _node(run.config, group)
    option = choices.get(group) if isinstance(choices, dict) else None
    if not isinstance(option, str) or option not in _names(group):
        return None
    default = _node(_defaults((*chosen, (group, option))), group)
    return option if isinstance(default, dict) and default.get("_target_") == node.get("_target_") else None


def _closest(node: Mapping[str, Any], group: str, chosen: tuple[tuple[str, str], ...]) -> str | None:
    """Returns the option with the same target and the fewest other values; None if no option has it."""
    found = list[tuple[int, str]]()
    for option in _names(group):
        default = _node(_defaults((*chosen, (group, option))), group)
        if isinstance(default, dict) and default.get("_target_") == node.get("_target_"):
            found.append((sum(shown(value) != shown(node.get(key)) for key, value in default.items()), option))
    return min(found)[1] if found else None


def _option_name(run: Run, group: str) -> str:
    """Returns the option of a run, or the path of its target if no shipped option has it."""
    node = _node(run.config, group)
    if not isinstance(node, dict):
        return ""
    chosen = _chosen(run)
    before = tuple((key, option) for key, option in chosen.items() if group.startswith(f"{key}/"))
    return _recorded(run, group, before) or _closest(node, group, before) or str(node.get("_target_"))


def _resolved(run: Run, options: Mapping[str, str]) -> Mapping[str, Any]:
    """Returns the defaults under these options, with the automatic values that the run has."""
    replicas, processes = _node(run.config, "strategy/replicas"), run.summary.get("processes", 1)
    return _with_automatic(
        tuple(options.items()),
        processes if isinstance(processes, int) else 1,
        replicas if isinstance(replicas, int) else None,
    )


@cache
def _with_automatic(chosen: tuple[tuple[str, str], ...], processes: int, replicas: int | None) -> Mapping[str, Any]:
    config = preflight.preflight([f"{group}={option}" for group, option in chosen], config_dir=None)
    with suppress(UserError):  # a combination that other settings of the run allow
        config = preflight.check_job(config, processes=processes)
    config = config if replicas is None else preflight.with_replicas(config, replicas)
    return config.model_dump(mode="json")


@cache
def _defaults(chosen: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
    """Returns the configuration under these options; empty if they need a key that must be given."""
    with suppress(UserError):
        words = [f"{group}={option}" for group, option in chosen]
        return preflight.preflight(words, config_dir=None).model_dump(mode="json")
    return {}


@cache
def _names(group: str) -> tuple[str, ...]:
    with composer(None) as hydra:
        return tuple(hydra.options(group))


def _node(config: Mapping[str, Any], path: str) -> Any:
    node: Any = config
    for part in path.split("/"):
        node = node.get(part) if isinstance(node, dict) else None
    return node
