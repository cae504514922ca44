"""Threshold policies: the magnitude that an element must reach to be sent, by the density of the messages.

All are pure functions of (threshold, density, residual ratio, step), taken over the messages of all replicas. Every
process computes the same next threshold from the gathered messages, so replicas agree without a collective.

`Adaptive` follows DeepLearning4j 1.0.0-M2 exactly. `TargetDensity` moves in the direction of DeepLearning4j's
target-sparsity rule, but its step is proportional to the absolute error of the density. Lowering a threshold by a
fraction x releases about x of all elements at once, whatever the target; so steps of a fixed fraction (3.5 % there,
15 % elsewhere) release many times a target of 0.0005, and then nothing for hundreds of steps. With steps of
gain * (density - target) one gain is smooth for every target.

References:
    Strom 2015 (fixed); DeepLearning4j 1.0.0-M2, AdaptiveThresholdAlgorithm and TargetSparsityThresholdAlgorithm.
"""

from collections.abc import Sequence
from typing import Protocol, final

import tensorflow as tf

SATURATED = 8.0
"""Residual ratio above which the threshold rises: in training that goes well it is two to three (LeNet)."""

DL4J_RATE = 0.5 ** (1 / 20)
"""Factor of one adjustment; twenty of them halve the threshold."""


class Threshold(Protocol):
    """A policy: the first threshold, and the next one.

    Attributes:
        initial: First threshold in gradient units; None lets the replicas propose it, so that about `density(1)` of
            all elements reach it.
        targets: Target of the density, for tables and plots: one, a lower and an upper bound, or none.
        follows_learning_rate: Whether thresholds of rounds of several steps keep their proportion to it.
    """

    initial: float | None
    targets: Sequence[float]
    follows_learning_rate: bool

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """Target density at `step`, [] float32; the first thresholds are that quantile."""
        ...

    def next(self, threshold: tf.Tensor, density: tf.Tensor, residual_ratio: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Computes the thresholds of the next step, [k].

        Args:
            threshold: [k] float32, of this step.
            density: [k] float32, share of the elements that all replicas sent.
            residual_ratio: [] float32, the largest |residual| / threshold of all replicas, before sending.
            step: [] int64.
        """
        ...


@final
class Fixed:
    """The same threshold for the whole run.

    Args:
        initial: Gradient units (update units with `shares: updates`).
    """

    follows_learning_rate = False

    def __init__(self, *, initial: float) -> None:
        self.initial: float | None = initial
        self.targets: Sequence[float] = ()

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """Returns a constant, which nothing uses: there is always a threshold."""
        return tf.constant(1e-3)

    def next(self, threshold: tf.Tensor, density: tf.Tensor, residual_ratio: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns `threshold`."""
        return threshold


@final
class Adaptive:
    """Keeps the density between two bounds, DeepLearning4j's default.

    density < minimum: threshold *= rate; density > maximum: threshold /= rate.

    Args:
        initial: First threshold in gradient units, or None (see `Threshold`).
        minimum: Lowest density.
        maximum: Highest density.
        rate: Factor of one adjustment, in (0, 1).
    """

    follows_learning_rate = True

    def __init__(self, *, initial: float | None, minimum: float, maximum: float, rate: float = DL4J_RATE) -> None:
        self.initial = initial
        self.targets: Sequence[float] = (minimum, maximum)
        self._minimum, self._maximum, self._rate = minimum, maximum, rate

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the geometric mean of the two bounds."""
        return tf.constant((self._minimum * self._maximum) ** 0.5, tf.float32)

    def next(self, threshold: tf.Tensor, density: tf.Tensor, residual_ratio: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns threshold, threshold * rate or threshold / rate."""
        factor = tf.where(density < self._minimum, self._rate, tf.where(density > self._maximum, 1 / self._rate, 1.0))
        return threshold * factor


@final
class TargetDensity:
    """Steers the density to a target that may start high and fall.

    threshold *= exp(gain * (density - target)), one step's factor held within [1/2, 2].

    A residual of many thresholds would take as many steps to deliver, so the threshold rises until the residual ratio
    is SATURATED. If not even the largest residual reaches the threshold, it falls towards that, by DL4J_RATE a step.

    Args:
        initial: First threshold in gradient units, or None (see `Threshold`).
        density: Fraction of the elements to send, in (0, 1/16).
        ramp: Optimizer steps over which the target falls, geometrically, from 1/16 to `density`; 0 for none.
        gain: Gain of the controller: about 1 is smooth; 10 oscillates between no element and many times the target
            (LeNet).
    """

    follows_learning_rate = True

    def __init__(self, *, initial: float | None, density: float, ramp: int, gain: float) -> None:
        self.initial = initial
        self.targets: Sequence[float] = (density,)
        self._density, self._ramp, self._gain = density, ramp, gain

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """Returns 1/16 at step 0, `density` from step `ramp` on, geometric between."""
        if self._ramp == 0:
            return tf.constant(self._density, tf.float32)
        progress = tf.minimum(tf.cast(step, tf.float32) / self._ramp, 1.0)
        return (1 / 16) * tf.pow(16 * self._density, progress)

    def next(self, threshold: tf.Tensor, density: tf.Tensor, residual_ratio: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the threshold moved towards the target; faster out of saturation or starvation."""
        error = density - self.density(step)
        saturated = tf.broadcast_to(residual_ratio / SATURATED, tf.shape(density))
        if threshold.shape.num_elements() != 1:  # the ratio is another tensor's if this one sends little
            saturated = tf.where(error > 0, saturated, 0.0)
        factor = tf.maximum(tf.exp(self._gain * error), saturated) * tf.clip_by_value(residual_ratio, DL4J_RATE, 1.0)
        return threshold * tf.clip_by_value(factor, 0.5, 2.0)
