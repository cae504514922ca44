"""Options of collectives, codecs, threshold policies and outer optimizers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

from tfscale.config.schemas.fields import (
    Auto,
    Bool,
    Density,
    Fraction,
    NoOptions,
    NotNegative,
    OptionalPositive,
    Positive,
    Table,
    rule,
)


class _Horovod(Table):
    shared_memory: Annotated[bool | Auto, rule("true, false or auto")]


class _Fixed(Table):
    initial: Positive


class _Adaptive(Table):
    initial: OptionalPositive
    minimum: Density
    maximum: Density
    rate: Fraction


class _TargetDensity(Table):
    initial: OptionalPositive
    density: Annotated[Annotated[float, Field(gt=0, lt=1 / 16)] | Auto, rule("a fraction > 0 and < 1/16, or auto")]
    ramp: NotNegative
    gain: Annotated[Annotated[float, Field(gt=0, le=100)] | Auto, rule("a number > 0 and <= 100, or auto")]


class _OuterOptimizer(Table):
    learning_rate: Positive
    momentum: Annotated[Annotated[float, Field(ge=0, lt=1)] | Auto, rule("a number >= 0 and < 1, or auto")]
    nesterov: Bool


NO_OUTER_OPTIMIZER: Mapping[str, Any] = MappingProxyType(
    {
        "_target_": "tfscale.strategies.outer_optimizer.OuterOptimizer",
        "learning_rate": 1.0,
        "momentum": 0.0,
        "nesterov": False,
    }
)
"""The outer optimizer of runs from before there was one: strategy/outer=none."""

SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "auto": NoOptions,
        "tfscale.collectives.in_process.InProcess": NoOptions,
        "tfscale.collectives.horovod.Horovod": _Horovod,
        "tfscale.compression.codecs.word32.Word32": NoOptions,
        "tfscale.compression.codecs.bitmap.Bitmap": NoOptions,
        "tfscale.compression.codecs.rice.Rice": NoOptions,
        "tfscale.compression.codecs.smallest.Smallest": NoOptions,
        "tfscale.compression.thresholds.Fixed": _Fixed,
        "tfscale.compression.thresholds.Adaptive": _Adaptive,
        "tfscale.compression.thresholds.TargetDensity": _TargetDensity,
        "tfscale.strategies.outer_optimizer.OuterOptimizer": _OuterOptimizer,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
