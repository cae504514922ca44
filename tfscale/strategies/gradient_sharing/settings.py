"""Options, rules and automatic values of threshold gradient sharing; no TensorFlow."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.exchange import NO_OUTER_OPTIMIZER
from tfscale.config.schemas.fields import (
    Auto,
    AutoWhole,
    Bool,
    NotNegative,
    OptionalPositive,
    OptionalSteps,
    Steps,
    Table,
    Whole,
    rule,
)

SGD = "keras.optimizers.SGD"
"""The optimizer whose step is linear in the gradient."""

ROUND_LEVELS = 15
"""Levels in rounds of several steps."""

DENSITY, DENSITY_A_STEP = 0.0005, 0.000125
"""Density of an exchange: the first, or the second for each step of a round if that is more."""

LARGEST_DENSITY = 1 / 32
"""Of an exchange, however long its round."""

LARGEST_GAIN = 100.0

BITMAP = "tfscale.compression.codecs.bitmap.Bitmap"
"""The code that cannot list an element twice."""


class _GradientSharing(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    codec: dict[str, Any]
    threshold: dict[str, Any]
    group: Whole
    shares: Annotated[Literal["auto", "gradients", "updates"], rule("auto, gradients or updates")]
    every: Steps
    outer: dict[str, Any]
    combine: Annotated[Literal["auto", "mean", "root", "sum"], rule("auto, mean, root or sum")]
    delay: Annotated[int, rule("0 or 1 step", ge=0, le=1)]
    per_tensor: Bool
    levels: Annotated[Annotated[int, Field(ge=1, le=127)] | Auto, rule("a whole number from 1 to 127, or auto")]
    residual_decay: Annotated[float, rule("a number > 0 and <= 1", gt=0, le=1)]
    min_size: NotNegative
    momentum: Annotated[Annotated[float, Field(ge=0, lt=1)] | Auto, rule("a number >= 0 and < 1, or auto")]
    nesterov: Annotated[bool | Auto, rule("true, false or auto")]
    masking: Bool
    warmup: NotNegative
    flush_every: OptionalSteps
    clip_norm: OptionalPositive
    clip_residual: OptionalPositive
    clip_every: Steps
    auto: Bool
    reduce: Annotated[Literal["auto", "gather", "scatter"], rule("auto, gather or scatter")]
    kernel: Annotated[Literal["auto", "native", "reference"], rule("auto, native or reference")]


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.strategies.gradient_sharing.strategy.GradientSharing": _GradientSharing,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""

NEW_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "tfscale.strategies.gradient_sharing.strategy.GradientSharing": {
            "every": 1,
            "outer": dict(NO_OUTER_OPTIMIZER),
            "levels": 1,
            "residual_decay": 1.0,
            "reduce": "gather",
            "group": 1,
        }
    }
)
"""`_target_` -> options that configurations of earlier runs lack, with the values that change nothing."""

COMPARED: Mapping[str, Sequence[str]] = MappingProxyType(
    {"sharing": ["strategy=sharing"], "sharing every=16": ["strategy=sharing", "strategy.every=16"]}
)
"""Name -> overrides of what an estimate compares."""


def problems_of(config: Config) -> list[str]:
    """Returns a message for each rule between keys that the configuration breaks."""
    strategy = config.strategy
    problems = [*_round_problems(strategy), *_group_problems(strategy)]
    momentum = strategy["momentum"]
    if isinstance(momentum, int | float) and momentum > 0:
        if config.optimizer.get("momentum"):
            problems.append(
                f"strategy.momentum={momentum} and optimizer.momentum={config.optimizer['momentum']} would both apply; "
                "set optimizer.momentum=0, or leave strategy.momentum=auto"
            )
        if strategy["shares"] == "updates":
            problems.append(
                f"strategy.momentum must be 0 with strategy.shares=updates, got {momentum}; each replica's optimizer "
                "has its own momentum: set optimizer.momentum"
            )
    if config.train.nonfinite == "rollback" and strategy["delay"]:
        problems.append(
            f"train.nonfinite=rollback must come with strategy.delay=0, got {strategy['delay']}: a delayed message "
            "belongs to no checkpoint; set train.nonfinite=skip"
        )
    threshold = strategy["threshold"]
    if "maximum" in threshold and threshold.get("minimum", 0) >= threshold["maximum"]:
        problems.append(
            f"strategy.threshold.minimum must be below strategy.threshold.maximum, got {threshold['minimum']} and "
            f"{threshold['maximum']}; swap them"
        )
    return problems


def _round_problems(strategy: Mapping[str, Any]) -> list[str]:
    """Returns messages about rounds of several steps, the outer optimizer and levels."""
    problems, every, outer = [], strategy["every"], strategy["outer"]
    gradients = strategy["shares"] == "gradients"
    if every > 1 and gradients:
        problems.append(
            f"strategy.shares must be updates with strategy.every above 1, got gradients and {every}: replicas take "
            "steps alone; leave strategy.shares=auto"
        )
    elif every > 1 and strategy["momentum"] not in ("auto", 0):
        problems.append(
            f"strategy.momentum must be 0 with strategy.every above 1, got {strategy['momentum']} and {every}: each "
            "replica's optimizer has its own momentum; set optimizer.momentum"
        )
    if _is_active(outer) and gradients:
        problems.append(
            "strategy/outer must be none with strategy.shares=gradients, which each replica's optimizer applies; set "
            "strategy.shares=updates"
        )
    if strategy["levels"] not in ("auto", 1) and strategy["codec"]["_target_"] == BITMAP:
        problems.append(
            f"strategy.levels must be 1 with strategy/codec=bitmap, which has no room for more, got "
            f"{strategy['levels']}; set strategy/codec=smallest"
        )
    if strategy["reduce"] == "scatter" and strategy["codec"]["_target_"] == BITMAP:
        problems.append(
            "strategy.reduce must be gather with strategy/codec=bitmap, whose messages are as long for a part as for "
            "all elements; set strategy/codec=smallest"
        )
    return problems


def _group_problems(strategy: Mapping[str, Any]) -> list[str]:
    """Returns messages about groups of replicas that share as one."""
    group, replicas = strategy["group"], strategy["replicas"]
    if group == 1 or replicas == "auto":  # then the processes that there are decide
        return []
    if replicas % group:
        return [
            f"strategy.replicas must be a multiple of strategy.group, got {replicas} and {group}; set it to {group} "
            "times the number of groups"
        ]
    if replicas == group:
        return [
            f"strategy.group must be smaller than strategy.replicas, got {group} for both: one group has nobody to "
            "share with; set strategy=horovod"
        ]
    return []


def _is_active(outer: Mapping[str, Any]) -> bool:
    return outer.get("learning_rate", 1.0) != 1 or outer.get("momentum", 0.0) != 0


def resolved(config: Config) -> Config:
    """Replaces `auto` in all options by what follows from the optimizer and the number of steps in a round.

    A step of SGD is linear in the gradient, so gradients are shared, and its momentum is applied before compression.
    Other optimizers divide by statistics of gradients, which sparse sums distort: each replica runs its own, and their
    updates are shared, as they are with rounds of several steps or an outer optimizer. Each of W replicas sees sqrt(W)
    times the noise of the mean gradient and makes its updates smaller by that factor, so the sum is divided by sqrt(W).
    Their momentum (RMSprop's, Muon's) is not a sum of gradients, so it stays in the optimizer whatever is shared.

    Exchanges of rounds of several steps are rarer, so each sends more elements, each of them by more thresholds, and
    steers harder. They have no outer optimizer by themselves: its momentum makes steps larger, and some jobs diverge.
    """
    strategy, optimizer = dict(config.strategy), dict(config.optimizer)
    linear = optimizer["_target_"] == SGD
    if strategy["shares"] == "auto":
        has_momentum = strategy["momentum"] != "auto" and strategy["momentum"] > 0
        alone = strategy["every"] > 1 or _is_active(strategy["outer"])
        strategy["shares"] = "gradients" if (has_momentum or linear) and not alone else "updates"
    if strategy["combine"] == "auto":
        strategy["combine"] = "mean" if strategy["shares"] == "gradients" or linear else "root"
    several = strategy["every"] > 1
    if strategy["levels"] == "auto":
        strategy["levels"] = ROUND_LEVELS if several and strategy["codec"]["_target_"] != BITMAP else 1
    strategy["threshold"] = _resolved_threshold(strategy["threshold"], strategy["every"])
    takes_over = linear and strategy["shares"] == "gradients" and strategy["momentum"] == "auto"
    if strategy["nesterov"] == "auto":
        strategy["nesterov"] = bool(optimizer.get("nesterov", False)) and takes_over
    if strategy["momentum"] == "auto":
        strategy["momentum"] = float(optimizer.get("momentum", 0.0)) if takes_over else 0.0
    if takes_over and "momentum" in optimizer:
        optimizer |= {"momentum": 0.0, "nesterov": False}
    return config.model_copy(update={"strategy": strategy, "optimizer": optimizer})


def _resolved_threshold(threshold: Mapping[str, Any], every: int) -> Mapping[str, Any]:
    """Replaces `auto` in the density and the gain of a policy that has them."""
    values = dict(threshold)
    if values.get("density") == "auto":
        values["density"] = min(LARGEST_DENSITY, max(DENSITY, DENSITY_A_STEP * every))
    if values.get("gain") == "auto":
        values["gain"] = min(LARGEST_GAIN, float(every))
    return values
