"""Options and rules of parameter averaging; no TensorFlow."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.exchange import NO_OUTER_OPTIMIZER
from tfscale.config.schemas.fields import AutoWhole, Bool, Steps, Table, rule

INT8 = 127
"""Largest sum of int8 messages."""

FEWEST_LEVELS = 3
"""Fewest values of each sign that an int8 message may have."""

INT8_REPLICAS = INT8 // FEWEST_LEVELS
"""Most replicas with int8 messages."""


class _ParameterAveraging(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    reproducible: Bool
    every: Steps
    payload: Annotated[Literal["float32", "float16", "int8"], rule("float32, float16 or int8")]
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
    {
        "tfscale.strategies.parameter_averaging.strategy.ParameterAveraging": {
            "outer": dict(NO_OUTER_OPTIMIZER),
            "payload": "float32",
        }
    }
)
"""`_target_` -> options that configurations of earlier runs lack, with the values that change nothing."""

COMPARED: Mapping[str, Sequence[str]] = MappingProxyType({"horovod_averaging": ["strategy=horovod_averaging"]})
"""Name -> overrides of what an estimate compares."""


def problems_of(config: Config) -> list[str]:
    """Returns a message for each rule between keys that the configuration breaks."""
    strategy, problems = config.strategy, []
    if strategy["payload"] == "float16" and strategy["reproducible"]:
        problems.append(
            "strategy.payload must be float32 or int8 with strategy.reproducible=true, got float16: sums of halves "
            "depend on their order; set strategy.payload=int8"
        )
    if strategy["payload"] == "int8" and strategy["replicas"] != "auto" and strategy["replicas"] > INT8_REPLICAS:
        problems.append(
            f"strategy.payload must be float32 or float16 with more than {INT8_REPLICAS} replicas, got int8 and "
            f"{strategy['replicas']}: their sum does not fit; set strategy.payload=float32"
        )
    return problems


def resolved(config: Config) -> Config:
    """Returns the configuration as it is: no option follows from others."""
    return config
