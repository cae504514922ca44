"""Old `_target_` paths and values: saved runs and users' files that name them still work, with a warning.

Paths changed once, before 0.1.0. The table maps modules; names inside them are the same.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from tfscale.config.strategy_settings import settings_of

MOVED_MODULES: Mapping[str, str] = MappingProxyType(
    {
        "tfscale.codecs.bitmap": "tfscale.compression.codecs.bitmap",
        "tfscale.codecs.rice": "tfscale.compression.codecs.rice",
        "tfscale.codecs.smallest": "tfscale.compression.codecs.smallest",
        "tfscale.codecs.word32": "tfscale.compression.codecs.word32",
        "tfscale.data.digits": "tfscale.data.sources.digits",
        "tfscale.data.idx": "tfscale.data.sources.idx",
        "tfscale.data.npz": "tfscale.data.sources.npz",
        "tfscale.data.shakespeare": "tfscale.data.sources.shakespeare",
        "tfscale.data.synthetic": "tfscale.data.sources.synthetic",
        "tfscale.early_stopping": "tfscale.training.early_stopping",
        "tfscale.schedules": "tfscale.training.schedules",
        "tfscale.strategies.gradient_averaging": "tfscale.strategies.gradient_averaging.strategy",
        "tfscale.strategies.gradient_sharing": "tfscale.strategies.gradient_sharing.strategy",
        "tfscale.strategies.parameter_averaging": "tfscale.strategies.parameter_averaging.strategy",
        "tfscale.thresholds": "tfscale.compression.thresholds",
    }
)
"""Old module -> where it is now."""


def current(target: str) -> str:
    """The path that an old `_target_` has now; the same for any other."""
    module, _, name = target.rpartition(".")
    return f"{MOVED_MODULES[module]}.{name}" if module in MOVED_MODULES else target


SHIPPED_MODELS = "tfscale.models."
"""Prefix of the models whose key `classes` is `outputs` now."""

RENAMED_VALUES: Mapping[tuple[str, str, str], str] = MappingProxyType({("strategy", "kernel", "plain"): "reference"})
"""Node, key and old value -> the current value."""


MOVED_KEYS: Mapping[str, str] = MappingProxyType({"run.tensorboard": "tracker=tensorboard"})
"""Key that is no more -> what to type instead."""

TENSORBOARD: Mapping[str, Any] = MappingProxyType(
    {"_target_": "tfscale.tracking.tensorboard.TensorBoardTracker", "histograms": False, "ratios": False}
)
"""The tracker that `run.tensorboard=true` was."""


NEW_NODES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "task": {"_target_": "tfscale.tasks.select.auto"},
        "tracker": {},
        "callbacks": {},
        "model": {"init_from": None, "freeze": []},
        "train": {"export": "keras", "precision": "float32", "accumulate": 1, "jit_compile": False, "ema": None},
        "data": {
            "validation": None,
            "test": None,
            "stratify": False,
            "split_seed": 0,
            "missing": "keep",
            "normalize": "auto",
            "class_weight": None,
            "augment": [],
        },
    }
)
"""Nodes and keys that configurations of runs from before them lack, and the values that change nothing."""

NEW_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "tfscale.training.schedules.constant": {"warmup_steps": 0},
        "tfscale.training.schedules.exponential": {"warmup_steps": 0},
        "tfscale.training.schedules.piecewise": {"warmup_steps": 0},
        "tfscale.data.sources.images.images": {
            "table": None,
            "path": "path",
            "label": "label",
            "validation_table": None,
            "test_table": None,
        },
    }
)
"""`_target_` -> options that earlier configurations lack, and values that change nothing; strategies have their own."""


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Adds to the configuration of an earlier run what was introduced since, and takes out what is no more."""
    values, _ = _without_run_tensorboard(values)
    whole = {**values, **{name: {**node, **(values.get(name) or {})} for name, node in NEW_NODES.items()}}
    return {name: _with_new_options(node) if isinstance(node, dict) else node for name, node in whole.items()}


def _without_run_tensorboard(values: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Replaces the key `run.tensorboard` by a tracker; returns whether the key was there."""
    run = values.get("run")
    if not isinstance(run, dict) or "tensorboard" not in run:
        return dict(values), False
    changed = {**values, "run": {key: value for key, value in run.items() if key != "tensorboard"}}
    if run["tensorboard"] is True:
        changed["tracker"] = {"tensorboard": dict(TENSORBOARD), **(changed.get("tracker") or {})}
    return changed, True


def _with_new_options(node: Mapping[str, Any]) -> dict[str, Any]:
    target = current(str(node.get("_target_")))
    strategy = settings_of(target)
    return {**NEW_OPTIONS.get(target, {}), **({} if strategy is None else strategy.NEW_OPTIONS.get(target, {})), **node}


def renamed(values: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Replaces old paths and values in a configuration.

    Args:
        values: Plain nodes, lists and values.

    Returns:
        The configuration with current paths and values, and what it had in their place, old -> current.
    """
    old = {target: current(target) for target in _targets(values) if current(target) != target}
    changed, had_tensorboard = _without_run_tensorboard(_replaced(values, old))
    told = {**old, **({"run.tensorboard": MOVED_KEYS["run.tensorboard"]} if had_tensorboard else {})}
    model = changed.get("model")
    if isinstance(model, dict) and str(model.get("_target_")).startswith(SHIPPED_MODELS) and "classes" in model:
        model["outputs"] = model.pop("classes")
        model.setdefault("activation", "auto")
        told["model.classes"] = "model.outputs"
    for (node, key, before), now in RENAMED_VALUES.items():
        if isinstance(changed.get(node), dict) and changed[node].get(key) == before:
            changed[node][key] = now
            told[f"{node}.{key}={before}"] = f"{node}.{key}={now}"
    return changed, told


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        for part in value.values():
            yield from _targets(part)
    elif isinstance(value, list):
        for part in value:
            yield from _targets(part)


def _replaced(value: Any, old: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: old.get(part, part) if key == "_target_" and isinstance(part, str) else _replaced(part, old)
            for key, part in value.items()
        }
    return [_replaced(part, old) for part in value] if isinstance(value, list) else value
