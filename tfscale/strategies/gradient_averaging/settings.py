"""Options and rules of gradient averaging; no TensorFlow."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.fields import AutoWhole, Bool, Table


class _GradientAveraging(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    reproducible: Bool


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.strategies.gradient_averaging.strategy.GradientAveraging": _GradientAveraging,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""

NEW_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
"""`_target_` -> options that configurations of earlier runs lack, with the values that change nothing."""

COMPARED: Mapping[str, Sequence[str]] = MappingProxyType({"horovod": ["strategy=horovod"]})
"""Name -> overrides of what an estimate compares."""


def problems_of(config: Config) -> list[str]:
    """Returns no message: every combination of the options is valid."""
    return []


def resolved(config: Config) -> Config:
    """Returns the configuration as it is: no option follows from others."""
    return config
