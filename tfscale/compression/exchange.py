"""One exchange of threshold sharing: from all replicas' contributions to the sum of what they sent.

A step gathers one message a replica: a proposal for the first threshold, what has grown past the thresholds, or void.
A dense step (warm-up, flush, or all once compression is off) averages contributions and residuals instead. With a
delay, the order of a step is: messages arrive, thresholds move, contributions are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import tensorflow as tf

from tfscale import vectors
from tfscale.collectives import consistency
from tfscale.collectives.base import Collective, gather_bytes, mean_bytes
from tfscale.compression import message as framing
from tfscale.compression import threshold_proposal
from tfscale.compression.backends.base import Compressor, Contribution, SparseUpdate, Spec
from tfscale.compression.error_feedback import ErrorFeedback
from tfscale.compression.stopwatch import Stopwatch
from tfscale.compression.thresholds import Threshold
from tfscale.vectors import counter

SMALLEST = 1e-20
"""The threshold falls no lower, however long there is nothing to send."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What happens at which step.

    Attributes:
        warmup: The first steps that exchange everything, dense.
        flush_every: Steps between two that exchange everything, residuals included; None for never.
        delay: Steps between a contribution and its effect, 0 or 1.
        auto: Whether all steps may turn dense, once it is known which is faster.
        clip_norm: l2 norm that each contribution is clipped to; None for no clipping.
        clip_residual: Thresholds that residuals are clipped to; None for no clipping.
        clip_every: Steps between two clippings of residuals.
    """

    warmup: int
    flush_every: int | None
    delay: int
    auto: bool
    clip_norm: float | None
    clip_residual: float | None
    clip_every: int

    @property
    def may_be_dense(self) -> bool:
        """Whether any step can be dense."""
        return self.auto or self.warmup > 0 or self.flush_every is not None

    def is_dense(self, step: tf.Tensor) -> tf.Tensor:
        """Whether the step with this number is dense, [] bool."""
        flushes = tf.constant(False) if self.flush_every is None else tf.equal((step + 1) % self.flush_every, 0)
        return (step < self.warmup) | flushes


@final
class CompressedReducer(tf.Module):
    """The exchange of one job.

    Args:
        collective: How messages travel.
        compressor: What computes.
        rule: What the compressor was made for.
        policy: Where thresholds start and how they move.
        per_tensor: Whether each tensor has its own.
        course: What happens at which step.
        devices: Of this process's replicas.
    """

    def __init__(
        self,
        *,
        collective: Collective,
        compressor: Compressor,
        spec: Spec,
        policy: Threshold,
        per_tensor: bool,
        schedule: Schedule,
        devices: Sequence[str],
    ) -> None:
        super().__init__()
        self._collective, self.compressor, self._spec = collective, compressor, spec
        self._gather = collective.regular_gather()
        self._policy, self._per_tensor, self._schedule = policy, per_tensor, schedule
        tensors = len(spec.layout.sizes)
        self.thresholds = tf.Variable(tf.fill([tensors if per_tensor else 1], policy.initial or 0.0), trainable=False)
        self.counts = tf.Variable(tf.zeros([tensors], tf.int64), trainable=False)
        self.peaks = tf.Variable(tf.zeros([tensors]), trainable=False)
        self.bytes_sent, self.skipped, self.steered = counter(), counter(), counter()
        self.off = tf.Variable(tf.constant(False), trainable=False)
        self.stopwatch = Stopwatch("encode", "exchange", "decode")
        nothing = self._empty(tf.constant(-1, tf.int64), tf.constant(0)) if schedule.delay else None
        self.error_feedback = [
            ErrorFeedback(device, spec.layout.size, spec.momentum > 0, nothing) for device in devices
        ]

    def __call__(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        """R x [D] -> [D], as every replica of the job gets it.

        Args:
            contributions: Gradients or updates of this process's replicas.
            digests: R x [] int32, of the parameters that they were made with.
            step: [] int64, optimizer steps completed.
        """
        norm = self._schedule.clip_norm
        if norm is not None:
            contributions = [_clipped(each, norm) for each in contributions]
        if not self._schedule.may_be_dense:
            return self._exchange_sparse(contributions, digests, step)
        return tf.cond(
            self.off | self._schedule.is_dense(step),
            lambda: self._exchange_dense(contributions, digests, step),
            lambda: self._exchange_sparse(contributions, digests, step),
        )

    def _exchange_sparse(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        parts = list(zip(self.error_feedback, contributions, digests, strict=True))

        def compressed() -> list[tf.Tensor]:
            return self.stopwatch.time("encode", contributions, lambda: [self._compress(*part, step) for part in parts])

        if not self._schedule.delay:
            return self._arrive(compressed(), step)
        arrived = self._arrive_pending(step)
        # What a skipped step gives back, and the new threshold, come before the next contribution.
        with tf.control_dependencies([arrived]):
            self._keep(compressed())
        return arrived

    def _arrive_pending(self, step: tf.Tensor) -> tf.Tensor:
        return self._arrive([feedback.pending_message() for feedback in self.error_feedback], step - 1)

    def _keep(self, messages: Sequence[tf.Tensor]) -> None:
        for feedback, message in zip(self.error_feedback, messages, strict=True):
            feedback.keep_pending(message)

    def _header(self, step: tf.Tensor, digest: tf.Tensor, residual_ratio: tf.Tensor) -> tf.Tensor:
        threshold = framing.threshold_word(self.thresholds.read_value())
        return tf.stack([tf.cast(step, tf.int32), threshold, digest, residual_ratio])

    def _is_uninitialized(self) -> tf.Tensor:
        """Whether there is no threshold yet."""
        return self.thresholds[0] <= 0

    def _empty(self, step: tf.Tensor, digest: tf.Tensor) -> tf.Tensor:
        """The message of a replica that sends nothing: no element, no proposal, zeros for what travels whole."""
        tensors, header = len(self._spec.layout.sizes), self._header(step, digest, tf.constant(0))
        dense_values = tf.zeros([self._spec.layout.size - self._spec.sparse_size])
        found = SparseUpdate(tf.zeros([0], tf.int32), tf.zeros([tensors]), dense_values, tf.constant(True))
        return tf.cond(
            self._is_uninitialized(),
            lambda: self.compressor.propose(found, tf.zeros_like(self.thresholds), header),
            lambda: self.compressor.pack(found, header),
        )

    def _compress(
        self, feedback: ErrorFeedback, contribution: Contribution, digest: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """Adds a contribution [D] to the residual; returns the message [M] of what has grown past the thresholds."""
        with tf.device(feedback.device):
            uninitialized, thresholds = self._is_uninitialized(), self.thresholds.read_value()
            limits = tf.where(uninitialized, float("inf"), thresholds)
            found = self.compressor.accumulate(feedback.residual, feedback.velocity, contribution, limits)
            self.peaks.assign(
                found.peaks if feedback is self.error_feedback[0] else tf.maximum(self.peaks, found.peaks)
            )
            self._clip(feedback, step)
            header = self._header(step, digest, framing.residual_ratio(found.peaks, thresholds))
            return tf.cond(
                uninitialized,
                lambda: self._propose(feedback, found, header, step),
                lambda: self.compressor.pack(found, header),
            )

    def _propose(self, feedback: ErrorFeedback, found: SparseUpdate, header: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        density, residual = self._policy.density(step + 1), feedback.residual.read_value()
        proposal = threshold_proposal.propose(residual, self._spec, density, self._per_tensor)
        return self.compressor.propose(found, proposal, header)

    def _clip(self, feedback: ErrorFeedback, step: tf.Tensor) -> None:
        """Clips the residual, and counts what is lost."""
        if self._schedule.clip_residual is None:
            return
        bound = self._spec.layout.spread(self.thresholds * self._schedule.clip_residual)

        def clip() -> tf.Tensor:
            left = tf.clip_by_value(feedback.residual, -bound, bound)
            feedback.clipped.assign_add(tf.reduce_sum(tf.abs(feedback.residual - left)))
            return feedback.residual.assign(left)

        due = tf.equal((step + 1) % self._schedule.clip_every, 0) & ~self._is_uninitialized()
        tf.cond(due, clip, lambda: feedback.residual.read_value())

    def _arrive(self, messages: Sequence[tf.Tensor], made: tf.Tensor) -> tf.Tensor:
        """R messages of step `made` -> the sum of all W's [D]."""
        gathered = self.stopwatch.time("exchange", messages, lambda: self._gather(messages))
        words = tf.add_n([tf.size(message, out_type=tf.int64) for message in gathered])
        self.bytes_sent.assign_add(gather_bytes(words, self._collective.size))
        header = self._header(made, tf.constant(0), tf.constant(0))[:2]
        return self.stopwatch.time("decode", gathered, lambda: self._accept(gathered, header, made))

    def _accept(self, messages: Sequence[tf.Tensor], header: tf.Tensor, made: tf.Tensor) -> tf.Tensor:
        """Adds what was sent and moves the thresholds, or takes the first ones.

        If one message is void, each replica gets back what it was about to send.
        """
        uninitialized, thresholds = self._is_uninitialized(), self.thresholds.read_value()
        combined = self.compressor.combine(messages, thresholds, header)
        for feedback, rank in zip(self.error_feedback, self._collective.ranks, strict=True):
            self.compressor.restore(feedback.residual, messages[rank], thresholds, combined.skip)
        self.counts.assign(combined.counts)
        self.skipped.assign_add(tf.cast(combined.skip, tf.int64))
        # A message that only stands for a dense step says nothing about the threshold.
        placeholder = self.off | self._schedule.is_dense(made) | (made < 0)
        steers = ~(combined.skip | uninitialized | placeholder)
        density, residual_ratio = self._densities(combined.counts), framing.ratio(combined.residual_ratio)
        following = tf.maximum(self._policy.next(thresholds, density, residual_ratio, made), SMALLEST)
        moved = tf.where(steers, following, thresholds)
        self.thresholds.assign(tf.where(uninitialized, combined.proposed, moved))
        self.steered.assign_add(tf.cast(steers, tf.int64))
        return combined.sum

    def _densities(self, counts: tf.Tensor) -> tf.Tensor:
        """[T] elements sent by all -> density, [1] or [T]."""
        sent, replicas = tf.cast(counts, tf.float32), self._collective.size
        if not self._per_tensor:
            return (tf.reduce_sum(sent) / (replicas * max(self._spec.sparse_size, 1)))[tf.newaxis]
        return sent / tf.constant([replicas * max(size, 1) for size in self._spec.layout.sizes], tf.float32)

    def _skip(self) -> tf.Tensor:
        self.skipped.assign_add(1)
        return tf.zeros([self._spec.layout.size])

    def _exchange_dense(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        """Contributions and residuals R x [D], all of them, once -> [D]; and what was pending."""
        # One that is not sound makes the mean not finite.
        dense = [tf.where(each.usable, each.vector, float("nan")) for each in contributions]
        moving = [feedback.moving(each, self._spec) for feedback, each in zip(self.error_feedback, dense, strict=True)]
        arrived = self._arrive_pending(step) if self._schedule.delay else None
        with tf.control_dependencies([] if arrived is None else [arrived]):
            residuals = [feedback.residual.read_value() for feedback in self.error_feedback]
        replicas, size = self._collective.size, self._spec.layout.size
        digest_slots = consistency.digest_slots(digests, self._collective.ranks, replicas)
        values = [
            tf.concat([part + residual, ballot], axis=0)
            for (_, part), residual, ballot in zip(moving, residuals, digest_slots, strict=True)
        ]
        received = self._collective.mean(values)
        self.bytes_sent.assign_add(mean_bytes(vectors.size(values[:1]), replicas))
        agreed = consistency.require_consistent(consistency.decode_digests(received[size:], replicas), step)
        with tf.control_dependencies([] if agreed is None else [agreed]):
            mean = tf.identity(received[:size])

        def accept() -> tf.Tensor:
            for feedback, (velocity, _) in zip(self.error_feedback, moving, strict=True):
                feedback.residual.assign(tf.zeros_like(feedback.residual))
                feedback.keep_velocity(velocity)
            self.counts.assign([size * self._collective.size for size in self._spec.layout.sizes])
            return mean * (self._spec.scale * self._collective.size)

        dense = tf.cond(tf.reduce_all(tf.math.is_finite(mean)), accept, self._skip)
        if arrived is None:
            return dense
        with tf.control_dependencies([dense]):
            self._keep([self._empty(step, digest) for digest in digests])
        return arrived + dense


def _clipped(contribution: Contribution, norm: float) -> Contribution:
    """Clips in l2 norm; a norm beyond float32 makes the contribution unsound."""
    own = tf.norm(contribution.vector)
    factor = tf.minimum(1.0, tf.math.divide_no_nan(norm, own))
    vector = contribution.vector * tf.where(own > 0, factor, 1.0)
    return Contribution(vector, contribution.usable & tf.math.is_finite(own))
