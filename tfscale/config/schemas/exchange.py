"""Options of collectives, codecs and threshold policies."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from tfscale.config.schemas.fields import (
    Auto,
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
    density: Annotated[float, rule("a fraction > 0 and < 1/16", gt=0, lt=1 / 16)]
    ramp: NotNegative
    gain: Annotated[float, rule("a number > 0 and <= 100", gt=0, le=100)]


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
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
