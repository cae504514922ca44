"""Options, rules and automatic values of threshold gradient sharing; no TensorFlow."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.fields import (
    Auto,
    AutoWhole,
    Bool,
    NotNegative,
    OptionalPositive,
    OptionalSteps,
    Steps,
    Table,
    rule,
)

SGD = "keras.optimizers.SGD"
"""The optimizer whose step is linear in the gradient."""


class _GradientSharing(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    codec: dict[str, Any]
    threshold: dict[str, Any]
    shares: Annotated[Literal["auto", "gradients", "updates"], rule("auto, gradients or updates")]
    combine: Annotated[Literal["auto", "mean", "root", "sum"], rule("auto, mean, root or sum")]
    delay: Annotated[int, rule("0 or 1 step", ge=0, le=1)]
    per_tensor: Bool
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
    kernel: Annotated[Literal["auto", "native", "reference"], rule("auto, native or reference")]


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.strategies.gradient_sharing.strategy.GradientSharing": _GradientSharing,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""


def problems_of(config: Config) -> list[str]:
    """Returns a message for each rule between keys that the configuration breaks."""
    strategy, problems = config.strategy, []
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


def resolved(config: Config) -> Config:
    """Replaces `auto` in shares, combine, momentum and nesterov by what follows from the optimizer.

    A step of SGD is linear in the gradient, so gradients are shared, and its momentum is applied before compression.
    Other optimizers divide by statistics of gradients, which sparse sums distort: each replica runs its own, and their
    updates are shared. Each of W replicas sees sqrt(W) times the noise of the mean gradient and makes its updates
    smaller by that factor, so the sum is divided by sqrt(W). Their momentum (RMSprop's, Muon's) is not a sum of
    gradients, so it stays in the optimizer whatever is shared.
    """
    strategy, optimizer = dict(config.strategy), dict(config.optimizer)
    linear = optimizer["_target_"] == SGD
    if strategy["shares"] == "auto":
        has_momentum = strategy["momentum"] != "auto" and strategy["momentum"] > 0
        strategy["shares"] = "gradients" if has_momentum or linear else "updates"
    if strategy["combine"] == "auto":
        strategy["combine"] = "mean" if strategy["shares"] == "gradients" or linear else "root"
    takes_over = linear and strategy["shares"] == "gradients" and strategy["momentum"] == "auto"
    if strategy["nesterov"] == "auto":
        strategy["nesterov"] = bool(optimizer.get("nesterov", False)) and takes_over
    if strategy["momentum"] == "auto":
        strategy["momentum"] = float(optimizer.get("momentum", 0.0)) if takes_over else 0.0
    if takes_over and "momentum" in optimizer:
        optimizer |= {"momentum": 0.0, "nesterov": False}
    return config.model_copy(update={"strategy": strategy, "optimizer": optimizer})
