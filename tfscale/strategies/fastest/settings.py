"""Options and rules of the choice among strategies; no TensorFlow."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.fields import AutoWhole, Table, rule
from tfscale.config.strategy_settings import CANDIDATES, settings_of

DEFAULT_COLLECTIVES = (
    {"_target_": "auto"},
    {"_target_": "tfscale.collectives.horovod.Horovod", "shared_memory": "auto"},
)
"""Collectives that shipped strategies have unless one is typed."""


class _Fastest(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    candidates: Annotated[dict[str, dict[str, Any]], rule("names of strategies with a _target_ each", min_length=1)]


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType({"tfscale.strategies.fastest.strategy.Fastest": _Fastest})
"""`_target_` -> its options; `_target_` itself is not among them."""

NEW_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
"""`_target_` -> options that configurations of earlier runs lack, with the values that change nothing."""


def problems_of(config: Config) -> list[str]:
    """Returns a message for each rule that a candidate breaks, with the candidate's keys."""
    problems = []
    for name, candidate in config.strategy[CANDIDATES].items():
        key = f"strategy.{CANDIDATES}.{name}."
        if candidate.get("replicas", "auto") != "auto":
            problems.append(f"{key}replicas must be auto, got {candidate['replicas']}; set strategy.replicas for all")
        if dict(candidate.get("collective", DEFAULT_COLLECTIVES[0])) not in DEFAULT_COLLECTIVES:
            problems.append(f"{key}collective must be as it was; set strategy/collective for all candidates")
        if (settings := settings_of(candidate["_target_"])) is not None:
            own = settings.problems_of(config.model_copy(update={"strategy": candidate}))
            problems += [message.replace("strategy.", key) for message in own]
    return problems


def resolved(config: Config) -> Config:
    """Returns the configuration as it is: automatic values follow once a candidate is chosen."""
    return config
