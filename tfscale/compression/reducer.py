"""The compressed exchange: from all replicas' contributions to the sum of what they sent, in four stages.

    accumulate  contribution + residual -> the elements that reach the threshold; the residual keeps the rest
    encode      those elements -> one message a replica: a threshold proposal, sparse elements, or a skip
    exchange    one message a replica -> the sum of what all W sent (see `routes`)
    move        the thresholds follow

A dense step (see `dense`) takes the place of all four. With a delay, a step exchanges the messages of the step before,
and then accumulates and encodes its own.

A contribution may be the change over a round of K optimizer steps; the step numbers of exchanges are then K apart. A
falling learning rate makes such changes smaller within K times fewer exchanges than a policy needs to notice it, so
thresholds keep their proportion to it.
"""

from collections.abc import Callable, Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.compression import autotune, threshold_proposal
from tfscale.compression import message as framing
from tfscale.compression.autotune import Autotune
from tfscale.compression.backends.base import Backend, Contribution, Decoded, SparseUpdate, Spec
from tfscale.compression.dense import DenseReducer
from tfscale.compression.error_feedback import ErrorFeedback
from tfscale.compression.routes import Divided, Gathered, Route
from tfscale.compression.schedule import Schedule
from tfscale.compression.state import CompressorState
from tfscale.compression.stopwatch import Stopwatch
from tfscale.compression.thresholds import Threshold
from tfscale.vectors import flatten

SMALLEST_THRESHOLD = 1e-20
"""Lower bound of the threshold, however long there is nothing to send."""


@final
class CompressedReducer(tf.Module):
    """Sums what W replicas contribute, with compression.

    Args:
        collective: Transport of the messages.
        backend: Computes the stages.
        spec: Settings of the exchange; the backend was made for the same.
        policy: Threshold policy.
        per_tensor: One threshold a tensor.
        schedule: Settings that depend on the step.
        devices: Devices of this process's replicas.
        learning_rate: Returns that of the next step, [] float32, equal in all replicas; None for rounds of one step.

    Attributes:
        state: All variables of the exchange.
        stopwatch: Seconds of the last step's work: `encode` (accumulate included), `exchange` of messages, `decode`.
    """

    def __init__(
        self,
        *,
        collective: Collective,
        backend: Backend,
        spec: Spec,
        policy: Threshold,
        per_tensor: bool,
        schedule: Schedule,
        devices: Sequence[str],
        learning_rate: Callable[[], tf.Tensor] | None,
    ) -> None:
        super().__init__()
        self._collective, self.backend, self._spec = collective, backend, spec
        self._policy, self._per_tensor, self._schedule = policy, per_tensor, schedule
        self._learning_rate = learning_rate if policy.follows_learning_rate else None
        self.stopwatch = Stopwatch("encode", "exchange", "decode")
        route = Divided if spec.parts else Gathered
        self._route: Route = route(collective=collective, backend=backend, stopwatch=self.stopwatch)
        self.state = CompressorState(
            spec=spec,
            initial=policy.initial,
            per_tensor=per_tensor,
            delayed=schedule.delay > 0,
            decays=schedule.residual_decay < 1,
            rounds=schedule.every > 1,
            devices=devices,
        )
        self._autotune = Autotune(collective, spec.layout.size)
        self._reduce_dense = DenseReducer(collective=collective, spec=spec, state=self.state)
        if schedule.delay:
            self._keep_pending(
                [self._empty_message(tf.constant(-schedule.every, tf.int64), tf.constant(0)) for _ in devices]
            )

    def keep_usable(self, gradients: Sequence[Sequence[tf.Tensor]]) -> list[list[tf.Tensor]]:
        """R lists of tensors -> the same, without a copy; zeros for a replica whose gradient is not usable."""
        own = []
        for feedback, tensors in zip(self.state.error_feedback, gradients, strict=True):
            with tf.device(feedback.device):
                checks = [self.backend.check(flatten([each])).usable for each in tensors]
                own.append(feedback.keep_usable(tensors, tf.reduce_all(tf.stack(checks))))
        return own

    def autotune(self, step: int) -> str | None:
        """Chooses compression or an allreduce once, with `auto`, at step 100 or later, by their measured times.

        All processes call it after every step.

        Returns:
            A sentence about the choice; None if there was none.
        """
        state = self.state
        if not self._schedule.auto or step % autotune.EVERY or state.autotuned or state.steered < autotune.STEERED:
            return None
        decision = self._autotune(self.stopwatch.least_seconds())
        state.bytes_sent.assign_add(self._autotune.bytes)
        if decision is None:
            return None
        loses, figures = decision
        state.autotuned.assign(True)
        state.off.assign(loses)
        return f"{figures}: {'an allreduce takes over' if loses else 'compression stays'}"

    def __call__(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        """R x [D] -> the scaled sum [D] of all W, the same bits in every process.

        Args:
            contributions: Gradients or updates of this process's replicas.
            digests: R x [] int32, of the parameters that they were made with.
            step: [] int64, optimizer steps completed before those that the contributions are of.

        Raises:
            tf.errors.OpError: A message is damaged, or a replica holds other parameters than the rest.
        """
        norm = self._schedule.clip_norm
        if norm is not None:
            contributions = [_clip_norm(each, norm) for each in contributions]
        reduce = self._reduce_delayed if self._schedule.delay else self._reduce_at_once
        if not self._schedule.may_be_dense:
            return reduce(contributions, digests, step, dense=False)
        return tf.cond(
            self.state.off | self._schedule.is_dense(step),
            lambda: reduce(contributions, digests, step, dense=True),
            lambda: reduce(contributions, digests, step, dense=False),
        )

    def _reduce_at_once(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor, *, dense: bool
    ) -> tf.Tensor:
        if dense:
            return self._reduce_dense(contributions, digests, step)
        return self.exchange(self._messages(contributions, digests, step), step)

    def _reduce_delayed(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor, *, dense: bool
    ) -> tf.Tensor:
        arrived = self.exchange(
            [feedback.pending_message() for feedback in self.state.error_feedback], step - self._schedule.every
        )
        # A skipped step restores residuals, and thresholds move, before the next contribution is added.
        with tf.control_dependencies([arrived]):
            if not dense:
                self._keep_pending(self._messages(contributions, digests, step))
                return arrived
            added = self._reduce_dense(contributions, digests, step)
        with tf.control_dependencies([added]):
            self._keep_pending([self._empty_message(step, digest) for digest in digests])
        return arrived + added

    def _messages(
        self, contributions: Sequence[Contribution], digests: Sequence[tf.Tensor], step: tf.Tensor
    ) -> list[tf.Tensor]:
        return self.stopwatch.time(
            "encode", contributions, lambda: self.encode(self.accumulate(contributions, step), digests, step)
        )

    def accumulate(self, contributions: Sequence[Contribution], step: tf.Tensor) -> list[SparseUpdate]:
        """Stage 1: adds R contributions [D] to the residuals, and takes from them what reaches the thresholds."""
        state, updates = self.state, []
        for feedback, contribution in zip(state.error_feedback, contributions, strict=True):
            with tf.device(feedback.device):
                limits = tf.where(state.is_uninitialized(), float("inf"), state.thresholds.read_value())
                feedback.decay(self._schedule.residual_decay)
                update = self.backend.accumulate(feedback.residual, feedback.velocity, contribution, limits)
                state.peaks.assign(tf.maximum(state.peaks, update.peaks) if updates else update.peaks)
                self._clip_residual(feedback, step)
                updates.append(update)
        return updates

    def encode(self, updates: Sequence[SparseUpdate], digests: Sequence[tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """Stage 2: writes R messages [M], which propose thresholds while these are uninitialized."""
        messages = []
        for feedback, update, digest in zip(self.state.error_feedback, updates, digests, strict=True):
            with tf.device(feedback.device):
                messages.append(self._encode(feedback, update, digest, step))
        return messages

    def _encode(self, feedback: ErrorFeedback, update: SparseUpdate, digest: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        residual_ratio = framing.residual_ratio(update.peaks, self.state.thresholds.read_value())
        header = self._header(step, digest, framing.ratio_and_skipped(residual_ratio, feedback.take_skipped()))

        def propose() -> tf.Tensor:
            density, residual = self._policy.density(step + 1), feedback.residual.read_value()
            proposal = threshold_proposal.propose(residual, self._spec, density, self._per_tensor)
            return self.backend.encode(update, header, proposal)

        return tf.cond(self.state.is_uninitialized(), propose, lambda: self.backend.encode(update, header))

    def exchange(self, messages: Sequence[tf.Tensor], made: tf.Tensor) -> tf.Tensor:
        """Stages 3 and 4: R messages of step `made` -> the scaled sum [D] of what all W sent; moves the thresholds.

        If one message asks to skip the step, each replica gets back what it was about to send.
        """
        state, thresholds = self.state, self.state.thresholds.read_value()
        arrived = self._route(messages, thresholds, self._header(made, tf.constant(0), tf.constant(0)))
        decoded = arrived.decoded
        state.bytes_sent.assign_add(arrived.bytes)
        state.message_words.assign(arrived.words)
        state.sum_words.assign(arrived.sum_words)
        for feedback, message in zip(state.error_feedback, messages, strict=True):
            self.backend.restore(feedback.residual, message, thresholds, decoded.skip)
        state.counts.assign(decoded.counts)
        state.count_skips(decoded.skip, arrived.skipped)
        self._move_thresholds(decoded, thresholds, made)
        return decoded.sum

    def _move_thresholds(self, decoded: Decoded, thresholds: tf.Tensor, made: tf.Tensor) -> None:
        state, uninitialized = self.state, self.state.is_uninitialized()
        # A message that only stands for a dense step says nothing about the threshold.
        placeholder = state.off | self._schedule.is_dense(made) | (made < 0)
        steers = ~(decoded.skip | uninitialized | placeholder)
        density, residual_ratio = self._density(decoded.counts), framing.ratio(decoded.residual_ratio)
        following = tf.maximum(self._policy.next(thresholds, density, residual_ratio, made), SMALLEST_THRESHOLD)
        moved = tf.where(steers, following, thresholds)
        moved *= self._change_of_learning_rate()
        state.thresholds.assign(tf.where(uninitialized, decoded.proposed, moved))
        state.steered.assign_add(tf.cast(steers, tf.int64))

    def _change_of_learning_rate(self) -> tf.Tensor | float:
        """Returns the factor of the learning rate since the last call, within [1/2, 2]; 1 from or to a rate of 0."""
        kept = self.state.learning_rate
        if self._learning_rate is None or kept is None:
            return 1.0
        before, now = kept.read_value(), tf.cast(self._learning_rate(), tf.float32)
        with tf.control_dependencies([before]):
            kept.assign(tf.where(now > 0, now, before))
        factor = tf.clip_by_value(tf.math.divide_no_nan(now, before), 0.5, 2.0)
        return tf.where((before > 0) & (now > 0), factor, 1.0)

    def _density(self, counts: tf.Tensor) -> tf.Tensor:
        """[T] elements sent by all -> the share of the elements that was sent, [1] or [T]."""
        sent, replicas = tf.cast(counts, tf.float32), self._collective.size
        if not self._per_tensor:
            return (tf.reduce_sum(sent) / (replicas * max(self._spec.sparse_size, 1)))[tf.newaxis]
        return sent / tf.constant([replicas * max(size, 1) for size in self._spec.layout.sizes], tf.float32)

    def _header(self, step: tf.Tensor, digest: tf.Tensor, residual_ratio: tf.Tensor) -> tf.Tensor:
        threshold = framing.threshold_word(self.state.thresholds.read_value())
        return tf.stack([tf.cast(step, tf.int32), threshold, digest, residual_ratio])

    def _empty_message(self, step: tf.Tensor, digest: tf.Tensor) -> tf.Tensor:
        """The message that stands for a step without one: no element, proposals of 0, dense values of 0."""
        header = self._header(step, digest, tf.constant(0))
        tensors, dense_values = len(self._spec.layout.sizes), tf.zeros([self._spec.dense_size])
        nothing = SparseUpdate(tf.zeros([0], tf.int32), tf.zeros([tensors]), dense_values, tf.constant(True))
        return tf.cond(
            self.state.is_uninitialized(),
            lambda: self.backend.encode(nothing, header, tf.zeros_like(self.state.thresholds)),
            lambda: self.backend.encode(nothing, header),
        )

    def _keep_pending(self, messages: Sequence[tf.Tensor]) -> None:
        for feedback, message in zip(self.state.error_feedback, messages, strict=True):
            feedback.keep_pending(message)

    def _clip_residual(self, feedback: ErrorFeedback, step: tf.Tensor) -> None:
        multiple = self._schedule.clip_residual
        if multiple is None:
            return
        bound = self._spec.layout.spread(self.state.thresholds * multiple)
        due = self._schedule.clips_residual(step) & ~self.state.is_uninitialized()
        tf.cond(due, lambda: feedback.clip(bound), lambda: feedback.residual.read_value())


def _clip_norm(contribution: Contribution, norm: float) -> Contribution:
    """Clips in l2 norm; a norm beyond float32 makes the contribution unusable."""
    own = tf.norm(contribution.vector)
    factor = tf.minimum(1.0, tf.math.divide_no_nan(norm, own))
    vector = contribution.vector * tf.where(own > 0, factor, 1.0)
    return Contribution(vector, contribution.usable & tf.math.is_finite(own))
