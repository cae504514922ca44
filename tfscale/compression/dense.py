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
        self._rounds = state.learning_rate is not None

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
        mean, alone = self._mean([vector for _, vector in moved], digests, step)
        velocities = [velocity for velocity, _ in moved]
        finite = tf.reduce_all(tf.math.is_finite(mean))
        self._state.count_skips(~finite, alone)
        return tf.cond(finite, lambda: self._accept(mean, velocities), lambda: tf.zeros_like(mean))

    def _mean(
        self, contributions: Sequence[tf.Tensor], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean [D] of contributions plus residuals, once all replicas hold equal parameters.

        With rounds of several steps one more element brings the number of those that replicas have skipped alone.
        """
        replicas, size = self._collective.size, self._spec.layout.size
        residuals = [feedback.residual.read_value() for feedback in self._state.error_feedback]
        slots = consistency.digest_slots(digests, self._collective.ranks, replicas)
        skipped = [feedback.take_skipped() for feedback in self._state.error_feedback] if self._rounds else []
        alone = [tf.cast(each, tf.float32)[tf.newaxis] for each in skipped] or [tf.zeros([0])] * len(slots)
        values = [
            tf.concat([vector + residual, slot, own], axis=0)
            for vector, residual, slot, own in zip(contributions, residuals, slots, alone, strict=True)
        ]
        received = self._collective.mean(values)
        self._state.bytes_sent.assign_add(mean_bytes(vectors.size(values[:1]), replicas))
        mean, digest_slots, last = tf.split(received, [size, vectors.size(slots[:1]), 1 if self._rounds else 0])
        agreed = consistency.require_consistent(consistency.decode_digests(digest_slots, replicas), step)
        with tf.control_dependencies([] if agreed is None else [agreed]):
            return tf.identity(mean), tf.cast(tf.reduce_sum(tf.round(last * replicas)), tf.int64)

    def _accept(self, mean: tf.Tensor, velocities: Sequence[tf.Tensor | None]) -> tf.Tensor:
        for feedback, velocity in zip(self._state.error_feedback, velocities, strict=True):
            feedback.residual.assign(tf.zeros_like(feedback.residual))
            feedback.keep_velocity(velocity)
        self._state.counts.assign([size * self._collective.size for size in self._spec.layout.sizes])
        return mean * (self._spec.scale * self._collective.size)
