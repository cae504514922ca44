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
from tfscale.collectives import consistency as drift
from tfscale.collectives.base import Collective, gather_bytes, mean_bytes
from tfscale.compression import message as framing
from tfscale.compression import threshold_proposal as opening
from tfscale.compression.backends.base import Compressor, Contribution, Found, Rule
from tfscale.compression.error_feedback import ReplicaMemory
from tfscale.compression.stopwatch import Stopwatch
from tfscale.compression.thresholds import Threshold
from tfscale.vectors import counter

SMALLEST = 1e-20
"""The threshold falls no lower, however long there is nothing to send."""


@dataclass(frozen=True, kw_only=True)
class Course:
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
class Exchange(tf.Module):
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
        rule: Rule,
        policy: Threshold,
        per_tensor: bool,
        course: Course,
        devices: Sequence[str],
    ) -> None:
        super().__init__()
        self._collective, self.compressor, self._rule = collective, compressor, rule
        self._gather = collective.regular_gather()
        self._policy, self._per_tensor, self._course = policy, per_tensor, course
        tensors = len(rule.layout.sizes)
        self.thresholds = tf.Variable(tf.fill([tensors if per_tensor else 1], policy.initial or 0.0), trainable=False)
        self.counts = tf.Variable(tf.zeros([tensors], tf.int64), trainable=False)
        self.peaks = tf.Variable(tf.zeros([tensors]), trainable=False)
        self.bytes_sent, self.skipped, self.steered = counter(), counter(), counter()
        self.off = tf.Variable(tf.constant(False), trainable=False)
        self.stopwatch = Stopwatch("encode", "exchange", "decode")
        nothing = self._empty(tf.constant(-1, tf.int64), tf.constant(0)) if course.delay else None
        self.memories = [ReplicaMemory(device, rule.layout.size, rule.momentum > 0, nothing) for device in devices]

    def __call__(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        """R x [D] -> [D], as every replica of the job gets it.

        Args:
            contributions: Gradients or updates of this process's replicas.
            digests: R x [] int32, of the parameters that they were made with.
            step: [] int64, optimizer steps completed.
        """
        norm = self._course.clip_norm
        if norm is not None:
            contributions = [_clipped(each, norm) for each in contributions]
        if not self._course.may_be_dense:
            return self._exchange_sparse(contributions, digests, step)
        return tf.cond(
            self.off | self._course.is_dense(step),
            lambda: self._exchange_dense(contributions, digests, step),
            lambda: self._exchange_sparse(contributions, digests, step),
        )

    def _exchange_sparse(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        parts = list(zip(self.memories, contributions, digests, strict=True))

        def compressed() -> list[tf.Tensor]:
            return self.stopwatch.time("encode", contributions, lambda: [self._compress(*part, step) for part in parts])

        if not self._course.delay:
            return self._arrive(compressed(), step)
        arrived = self._arrive_pending(step)
        # What a skipped step gives back, and the new threshold, come before the next contribution.
        with tf.control_dependencies([arrived]):
            self._keep(compressed())
        return arrived

    def _arrive_pending(self, step: tf.Tensor) -> tf.Tensor:
        return self._arrive([memory.pending_message() for memory in self.memories], step - 1)

    def _keep(self, messages: Sequence[tf.Tensor]) -> None:
        for memory, message in zip(self.memories, messages, strict=True):
            memory.keep_pending(message)

    def _header(self, step: tf.Tensor, digest: tf.Tensor, strain: tf.Tensor) -> tf.Tensor:
        threshold = framing.threshold_word(self.thresholds.read_value())
        return tf.stack([tf.cast(step, tf.int32), threshold, digest, strain])

    def _is_closed(self) -> tf.Tensor:
        """Whether there is no threshold yet."""
        return self.thresholds[0] <= 0

    def _empty(self, step: tf.Tensor, digest: tf.Tensor) -> tf.Tensor:
        """The message of a replica that sends nothing: no element, no proposal, zeros for what travels whole."""
        tensors, header = len(self._rule.layout.sizes), self._header(step, digest, tf.constant(0))
        small = tf.zeros([self._rule.layout.size - self._rule.sparse_size])
        found = Found(tf.zeros([0], tf.int32), tf.zeros([tensors]), small, tf.constant(True))
        return tf.cond(
            self._is_closed(),
            lambda: self.compressor.propose(found, tf.zeros_like(self.thresholds), header),
            lambda: self.compressor.pack(found, header),
        )

    def _compress(
        self, memory: ReplicaMemory, contribution: Contribution, digest: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """Adds a contribution [D] to the residual; returns the message [M] of what has grown past the thresholds."""
        with tf.device(memory.device):
            closed, thresholds = self._is_closed(), self.thresholds.read_value()
            limits = tf.where(closed, float("inf"), thresholds)
            found = self.compressor.accumulate(memory.residual, memory.velocity, contribution, limits)
            self.peaks.assign(found.peaks if memory is self.memories[0] else tf.maximum(self.peaks, found.peaks))
            self._clip(memory, step)
            header = self._header(step, digest, framing.strain(found.peaks, thresholds))
            return tf.cond(
                closed,
                lambda: self._propose(memory, found, header, step),
                lambda: self.compressor.pack(found, header),
            )

    def _propose(self, memory: ReplicaMemory, found: Found, header: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        density, residual = self._policy.density(step + 1), memory.residual.read_value()
        proposal = opening.propose(residual, self._rule, density, self._per_tensor)
        return self.compressor.propose(found, proposal, header)

    def _clip(self, memory: ReplicaMemory, step: tf.Tensor) -> None:
        """Clips the residual, and counts what is lost."""
        if self._course.clip_residual is None:
            return
        bound = self._rule.layout.spread(self.thresholds * self._course.clip_residual)

        def clip() -> tf.Tensor:
            left = tf.clip_by_value(memory.residual, -bound, bound)
            memory.clipped.assign_add(tf.reduce_sum(tf.abs(memory.residual - left)))
            return memory.residual.assign(left)

        due = tf.equal((step + 1) % self._course.clip_every, 0) & ~self._is_closed()
        tf.cond(due, clip, lambda: memory.residual.read_value())

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
        closed, thresholds = self._is_closed(), self.thresholds.read_value()
        combined = self.compressor.combine(messages, thresholds, header)
        for memory, rank in zip(self.memories, self._collective.ranks, strict=True):
            self.compressor.restore(memory.residual, messages[rank], thresholds, combined.void)
        self.counts.assign(combined.counts)
        self.skipped.assign_add(tf.cast(combined.void, tf.int64))
        # A message that only stands for a dense step says nothing about the threshold.
        placeholder = self.off | self._course.is_dense(made) | (made < 0)
        steers = ~(combined.void | closed | placeholder)
        density, strain = self._densities(combined.counts), framing.ratio(combined.strain)
        following = tf.maximum(self._policy.next(thresholds, density, strain, made), SMALLEST)
        moved = tf.where(steers, following, thresholds)
        self.thresholds.assign(tf.where(closed, combined.proposed, moved))
        self.steered.assign_add(tf.cast(steers, tf.int64))
        return combined.sum

    def _densities(self, counts: tf.Tensor) -> tf.Tensor:
        """[T] elements sent by all -> density, [1] or [T]."""
        sent, replicas = tf.cast(counts, tf.float32), self._collective.size
        if not self._per_tensor:
            return (tf.reduce_sum(sent) / (replicas * max(self._rule.sparse_size, 1)))[tf.newaxis]
        return sent / tf.constant([replicas * max(size, 1) for size in self._rule.layout.sizes], tf.float32)

    def _skip(self) -> tf.Tensor:
        self.skipped.assign_add(1)
        return tf.zeros([self._rule.layout.size])

    def _exchange_dense(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        """Contributions and residuals R x [D], all of them, once -> [D]; and what was pending."""
        # One that is not sound makes the mean not finite.
        whole = [tf.where(each.sound, each.vector, float("nan")) for each in contributions]
        moving = [memory.moving(each, self._rule) for memory, each in zip(self.memories, whole, strict=True)]
        arrived = self._arrive_pending(step) if self._course.delay else None
        with tf.control_dependencies([] if arrived is None else [arrived]):
            residuals = [memory.residual.read_value() for memory in self.memories]
        replicas, size = self._collective.size, self._rule.layout.size
        ballots = drift.ballots(digests, self._collective.ranks, replicas)
        values = [
            tf.concat([part + residual, ballot], axis=0)
            for (_, part), residual, ballot in zip(moving, residuals, ballots, strict=True)
        ]
        received = self._collective.mean(values)
        self.bytes_sent.assign_add(mean_bytes(vectors.size(values[:1]), replicas))
        agreed = drift.agreement(drift.digests_of(received[size:], replicas), step)
        with tf.control_dependencies([] if agreed is None else [agreed]):
            mean = tf.identity(received[:size])

        def accept() -> tf.Tensor:
            for memory, (velocity, _) in zip(self.memories, moving, strict=True):
                memory.residual.assign(tf.zeros_like(memory.residual))
                memory.keep_velocity(velocity)
            self.counts.assign([size * self._collective.size for size in self._rule.layout.sizes])
            return mean * (self._rule.scale * self._collective.size)

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
    return Contribution(vector, contribution.sound & tf.math.is_finite(own))
