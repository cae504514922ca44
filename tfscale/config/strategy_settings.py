"""Finds the settings of strategies: each strategy owns its options, rules and automatic values.

A strategy is a folder in tfscale/strategies/ with two modules: `strategy`, which needs TensorFlow, and `settings`,
which must not: a command line is checked before TensorFlow is imported. They are found by name, so that configuration,
a floor below, knows no strategy.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.fields import Table

PACKAGE = "tfscale.strategies"

CANDIDATES = "candidates"
"""Option of a strategy that is a choice: the strategies among which the start of the job chooses, by name."""

STEADY: Mapping[str, Any] = {"warmup": 0, "flush_every": None, "auto": False}
"""Options of steps that differ from most, and the values without such steps."""


class StrategySettings(Protocol):
    """The module `settings` of a strategy.

    Attributes:
        SCHEMAS: `_target_` -> its options.
        NEW_OPTIONS: `_target_` -> options that configurations of earlier runs lack, and values that change nothing.
        COMPARED: Name -> overrides of those of its settings that an estimate compares; may be left out.
    """

    SCHEMAS: Mapping[str, type[Table]]
    NEW_OPTIONS: Mapping[str, Mapping[str, Any]]
    COMPARED: Mapping[str, Sequence[str]]

    def problems_of(self, config: Config) -> list[str]:
        """Returns a message for each rule between keys that the configuration breaks."""
        ...

    def resolved(self, config: Config) -> Config:
        """Returns the configuration with no value left `auto` that follows from other keys."""
        ...


@cache
def all_settings() -> Mapping[str, StrategySettings]:
    """Returns the settings of every shipped strategy by the name of its folder."""
    folders = pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)
    names = sorted(folder.name for folder in folders if folder.ispkg)
    return {name: cast(StrategySettings, importlib.import_module(f"{PACKAGE}.{name}.settings")) for name in names}


def settings_of(target: str) -> StrategySettings | None:
    """Returns the settings that belong to a strategy's `_target_`; None if it is not a shipped one."""
    return next((settings for settings in all_settings().values() if target in settings.SCHEMAS), None)


def compared() -> Mapping[str, Sequence[str]]:
    """Returns name -> overrides of the strategies that an estimate compares, of all that are shipped."""
    found = [getattr(settings, "COMPARED", {}) for settings in all_settings().values()]
    return {name: words for each in found for name, words in each.items()}


def in_steady_state(strategy: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Returns a strategy's settings without what makes some steps differ from most, and the keys that were changed."""
    changed = {key: value for key, value in STEADY.items() if strategy.get(key, value) != value}
    keys = [f"strategy.{key}" for key in changed]
    if strategy.get("threshold", {}).get("ramp"):
        changed["threshold"] = {**strategy["threshold"], "ramp": 0}
        keys.append("strategy.threshold.ramp")
    return {**strategy, **changed}, keys


def candidates_of(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Returns the strategies among which the start of the job chooses; none if the strategy is given."""
    is_choice = settings_of(config.strategy["_target_"]) is not None and CANDIDATES in config.strategy
    return config.strategy[CANDIDATES] if is_choice else {}


def with_strategy(config: Config, candidate: Mapping[str, Any]) -> Config:
    """Returns the configuration with a candidate in the place of the choice, whose replicas and collective stay.

    Its automatic values are not resolved.
    """
    of_all = {key: config.strategy[key] for key in ("replicas", "collective")}
    return config.model_copy(update={"strategy": {**candidate, **of_all}})
