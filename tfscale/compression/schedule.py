"""The schedule of an exchange: which steps are dense, how late messages arrive, and what is clipped.

An exchange covers a round of K optimizer steps. Its step number is that of the first one: the steps completed before.
"""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Settings that depend on the step.

    Attributes:
        every: K, optimizer steps of a round.
        warmup: Number of first steps that are dense.
        flush_every: Steps between two dense ones after that; None for never.
        delay: Rounds between a contribution and its effect, 0 or 1.
        auto: All steps may turn dense, once autotune knows which is faster.
        residual_decay: Factor of residuals at every exchange but dense ones, in (0, 1].
        clip_norm: l2 norm that each contribution is clipped to; None for no clipping.
        clip_residual: Multiple of the threshold that residuals are clipped to; None for no clipping.
        clip_every: Steps between two clippings of residuals.
    """

    every: int
    warmup: int
    flush_every: int | None
    delay: int
    auto: bool
    residual_decay: float
    clip_norm: float | None
    clip_residual: float | None
    clip_every: int

    @property
    def may_be_dense(self) -> bool:
        """True if any step can be dense."""
        return self.auto or self.warmup > 0 or self.flush_every is not None

    def is_dense(self, step: tf.Tensor) -> tf.Tensor:
        """True if the round from this step on is dense, [] bool."""
        flushes = tf.constant(False) if self.flush_every is None else self._completes(step, self.flush_every)
        return (step < self.warmup) | flushes

    def clips_residual(self, step: tf.Tensor) -> tf.Tensor:
        """True if residuals are clipped in the round from this step on, [] bool."""
        return self._completes(step, self.clip_every)

    def _completes(self, step: tf.Tensor, period: int) -> tf.Tensor:
        """True if the round from this step on completes a multiple of a number of steps, [] bool."""
        return (step + self.every) // period > step // period
