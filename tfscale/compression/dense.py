"""The dense step of an exchange: warm-up, flush, or every step once compression is off.

It averages contributions and residuals in full, by one allreduce. The consistency digests of all replicas travel in the
same vector, so replicas that drift apart are found in dense steps too.
"""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale import vectors
from tfscale.collectives import consistency
from tfscale.collectives.base import Collective, mean_bytes
from tfscale.compression.backends.base import Contribution, Spec
from tfscale.compression.state import CompressorState


@final
class DenseReducer:
    """Sums what W replicas contribute, residuals included, without compression.

    Args:
        collective: Transport of the vectors.
        spec: Settings of the exchange.
        state: Its residuals become zero, its velocities move.
    """

    def __init__(self, *, collective: Collective, spec: Spec, state: CompressorState) -> None:
        self._collective, self._spec, self._state = collective, spec, state

    def __call__(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        """R x [D] -> the scaled sum [D] of all W; zeros, and a skipped step, if it is not finite.

        Args:
            contributions: Gradients or updates of this process's replicas.
            digests: R x [] int32, of the parameters that they were made with.
            step: [] int64, optimizer steps completed.

        Raises:
            tf.errors.InvalidArgumentError: A replica holds other parameters than the rest.
        """
        # A contribution that is not usable makes the mean not finite.
        poisoned = [tf.where(given.usable, given.vector, float("nan")) for given in contributions]
        moved = [
            feedback.with_momentum(vector, self._spec)
            for feedback, vector in zip(self._state.error_feedback, poisoned, strict=True)
        ]
        mean = self._mean([vector for _, vector in moved], digests, step)
        velocities = [velocity for velocity, _ in moved]
        return tf.cond(tf.reduce_all(tf.math.is_finite(mean)), lambda: self._accept(mean, velocities), self._skip)

    def _mean(self, contributions: Sequence[tf.Tensor], digests: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """The mean [D] of contributions plus residuals, once all replicas hold equal parameters."""
        replicas, size = self._collective.size, self._spec.layout.size
        residuals = [feedback.residual.read_value() for feedback in self._state.error_feedback]
        slots = consistency.digest_slots(digests, self._collective.ranks, replicas)
        values = [
            tf.concat([vector + residual, slot], axis=0)
            for vector, residual, slot in zip(contributions, residuals, slots, strict=True)
        ]
        received = self._collective.mean(values)
        self._state.bytes_sent.assign_add(mean_bytes(vectors.size(values[:1]), replicas))
        agreed = consistency.require_consistent(consistency.decode_digests(received[size:], replicas), step)
        with tf.control_dependencies([] if agreed is None else [agreed]):
            return tf.identity(received[:size])

    def _accept(self, mean: tf.Tensor, velocities: Sequence[tf.Tensor | None]) -> tf.Tensor:
        for feedback, velocity in zip(self._state.error_feedback, velocities, strict=True):
            feedback.residual.assign(tf.zeros_like(feedback.residual))
            feedback.keep_velocity(velocity)
        self._state.counts.assign([size * self._collective.size for size in self._spec.layout.sizes])
        return mean * (self._spec.scale * self._collective.size)

    def _skip(self) -> tf.Tensor:
        self._state.skip()
        return tf.zeros([self._spec.layout.size])
