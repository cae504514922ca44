"""How large an element must be to be sent: policies that follow the density of the messages.

All are pure functions of (threshold, density, step), with the density taken over the messages of ALL replicas: every
process computes the same next threshold from what the gathered messages say, so there is one threshold in the job and
no collective is spent on agreeing.

`Adaptive` follows DeepLearning4j 1.0.0-M2 exactly. `TargetDensity` takes its direction from DeepLearning4j's
target-sparsity rule but steps in proportion to how far off the density is: a fixed 3.5 % a step needs 130 steps for a
factor of 100, and a fixed 15 % oscillates and diverges.

References:
    Strom 2015 (fixed); DeepLearning4j 1.0.0-M2, AdaptiveThresholdAlgorithm and TargetSparsityThresholdAlgorithm.
"""

from typing import Protocol, final

import tensorflow as tf

DL4J_RATE = 0.5 ** (1 / 20)
"""Factor of one adjustment: twenty of them halve the threshold."""


class Threshold(Protocol):
    """A policy: where the threshold starts and how it moves.

    Attributes:
        initial: The first threshold in gradient units; None takes it from the last dense step, so that `density(0)`
            of that step's elements reach it.
    """

    initial: float | None

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """The density asked for at `step`, [] float32."""
        ...

    def next(self, threshold: tf.Tensor, density: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """The threshold for the step after one that sent `density` of all elements; all are [] float32."""
        ...


@final
class Fixed:
    """The same threshold for the whole run.

    Args:
        initial: Gradient units (update units with `shares: updates`).
    """

    def __init__(self, *, initial: float) -> None:
        self.initial: float | None = initial

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """Not used: a fixed threshold asks for no density; 0.001 is what it is taken for."""
        return tf.constant(1e-3)

    def next(self, threshold: tf.Tensor, density: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
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

    def __init__(self, *, initial: float | None, minimum: float, maximum: float, rate: float = DL4J_RATE) -> None:
        self.initial = initial
        self._minimum, self._maximum, self._rate = minimum, maximum, rate

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """The geometric middle of the two bounds."""
        return tf.constant((self._minimum * self._maximum) ** 0.5, tf.float32)

    def next(self, threshold: tf.Tensor, density: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns threshold, threshold * rate or threshold / rate."""
        factor = tf.where(density < self._minimum, self._rate, tf.where(density > self._maximum, 1 / self._rate, 1.0))
        return threshold * factor


@final
class TargetDensity:
    """Steers the density to a target that may start high and fall.

    threshold *= (density / target)^gain, one step's factor held within [1/2, 2].

    Args:
        initial: First threshold in gradient units, or None (see `Threshold`).
        density: Fraction of the elements to send, in (0, 1/16).
        ramp: Optimizer steps over which the target falls, geometrically, from 1/16 to `density`; 0 for none.
        gain: How hard to steer: 0.02 is smooth, 0.1 swings between no element and a hundred times the target (LeNet).
    """

    def __init__(self, *, initial: float | None, density: float, ramp: int, gain: float) -> None:
        self.initial = initial
        self._density, self._ramp, self._gain = density, ramp, gain

    def density(self, step: tf.Tensor) -> tf.Tensor:
        """Returns 1/16 at step 0, `density` from step `ramp` on, geometric between."""
        if self._ramp == 0:
            return tf.constant(self._density, tf.float32)
        progress = tf.minimum(tf.cast(step, tf.float32) / self._ramp, 1.0)
        return (1 / 16) * tf.pow(16 * self._density, progress)

    def next(self, threshold: tf.Tensor, density: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the threshold moved towards the target; a message without elements counts as a tenth of it."""
        target = self.density(step)
        off = tf.maximum(density / target, 0.1)
        return threshold * tf.clip_by_value(tf.pow(off, self._gain), 0.5, 2.0)
