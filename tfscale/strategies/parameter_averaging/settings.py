"""Options and rules of parameter averaging; no TensorFlow."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.exchange import NO_OUTER_OPTIMIZER
from tfscale.config.schemas.fields import AutoWhole, Bool, Steps, Table


class _ParameterAveraging(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    reproducible: Bool
    every: Steps
    outer: dict[str, Any]
    average_optimizer: Bool
    report_after_averaging: Bool


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.strategies.parameter_averaging.strategy.ParameterAveraging": _ParameterAveraging,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""

NEW_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"tfscale.strategies.parameter_averaging.strategy.ParameterAveraging": {"outer": dict(NO_OUTER_OPTIMIZER)}}
)
"""`_target_` -> options that configurations of earlier runs lack, with the values that change nothing."""

COMPARED: Mapping[str, Sequence[str]] = MappingProxyType({"horovod_averaging": ["strategy=horovod_averaging"]})
"""Name -> overrides of what an estimate compares."""


def problems_of(config: Config) -> list[str]:
    """Returns no message: every combination of the options is valid."""
    return []


def resolved(config: Config) -> Config:
    """Returns the configuration as it is: no option follows from others."""
    return config
