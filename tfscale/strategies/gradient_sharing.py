"""Every step sends only what has grown large, and keeps the rest for later: threshold gradient sharing.

    residual += contribution
    send +-threshold for every element with |residual| >= threshold; residual -= what was sent
    every replica applies the sum (or mean) of what all replicas sent

The threshold is one for the job. It moves with the density of all gathered messages, which every process reads alike,
so the sum of the messages is the threshold times an integer: the same bits everywhere, whatever the order.

A replica whose contribution is not finite sends a void message, and then all replicas skip the exchange: a NaN that
entered a residual would stay there for ever. Optimizers see a gradient of zeros at such a step.

Each process decodes W dense vectors of signs a step: simple, and exact in any order, but O(W D).

References:
    Strom 2015 (the rule). Lin et al. 2018, "Deep Gradient Compression" (momentum correction, factor masking, local
    clipping by norm / sqrt(W)); their warm-up is `threshold.ramp`. DeepLearning4j's SharedTrainingMaster (`shares:
    updates`). Unlike all three, one threshold is agreed for each step.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, final

import tensorflow as tf

from tfscale import vectors
from tfscale.codecs import base as messages_of
from tfscale.codecs.base import Codec
from tfscale.codecs.word32 import MAXIMUM_SIZE
from tfscale.collectives.base import Collective, gather_bytes, mean_bytes
from tfscale.errors import UserError
from tfscale.strategies.base import agreed_parameters, counter
from tfscale.strategies.sharing_state import ReplicaMemory
from tfscale.thresholds import Threshold

SAMPLE = 1_000_000
"""The first threshold is the quantile of at most so many elements."""

SMALLEST = 1e-20
"""The threshold falls no lower, however long there is nothing to send."""


class _Attempt(NamedTuple):
    """What a replica would keep if no replica asks to skip the step."""

    velocity: tf.Tensor
    accumulated: tf.Tensor
    message: tf.Tensor


@final
class GradientSharing(tf.Module):
    """Threshold-compressed exchange of gradients, or of the updates that each replica's optimizer made of its own.

    Args:
        collective: How replicas exchange tensors.
        codec: How a message is written.
        threshold: Where the threshold starts and how it moves.
        shares: `gradients`: one optimizer step on what was exchanged, optimizer state equal everywhere. `updates`: each
            replica's optimizer runs on its own gradient, and the change of the parameters is exchanged.
        combine: `mean` over replicas, or `sum`.
        clip_norm: Clips each contribution to clip_norm / sqrt(W) in l2 norm; None for no clipping.
        warmup: The first steps that exchange everything, dense.
        momentum: Momentum applied before compression, in [0, 1); the optimizer must then have none.
        nesterov: Whether that momentum looks ahead.
        masking: Whether momentum is cleared where an element was sent.
    """

    averages_optimizer = False
    reports_after_averaging = False

    def __init__(
        self,
        *,
        collective: Collective,
        codec: Codec,
        threshold: Threshold,
        shares: Literal["gradients", "updates"],
        combine: Literal["mean", "sum"],
        clip_norm: float | None,
        warmup: int,
        momentum: float,
        nesterov: bool,
        masking: bool,
    ) -> None:
        super().__init__()
        self.collective = collective
        self.exchanges_gradients = True
        self.bytes_sent = counter()
        self._codec, self._policy, self._warmup = codec, threshold, warmup
        self._shares_updates = shares == "updates"
        self._scale = 1.0 / collective.size if combine == "mean" else 1.0
        self._clip_norm = None if clip_norm is None else clip_norm / collective.size**0.5
        self._momentum, self._nesterov, self._masking = momentum, nesterov, masking
        self._trainable = 0
        self._memories: list[ReplicaMemory] = []
        self._threshold = tf.Variable(tf.constant(threshold.initial or 0.0), trainable=False)
        self._density = tf.Variable(tf.constant(1.0), trainable=False)
        self._skipped = counter()
        self._agreed: tf.Variable | None = None

    def build(self, parameters: Sequence[tf.Tensor], trainable: int) -> None:
        """Creates residuals (and velocities) [D] beside each replica's parameters, all zero.

        Raises:
            UserError: D >= 2^31, more than an index has bits for.
        """
        if trainable >= MAXIMUM_SIZE:
            raise UserError(
                f"strategy=sharing handles models below 2^31 trainable parameters, this one has {trainable:,}; "
                "use strategy=horovod"
            )
        self._trainable = trainable
        self._memories = [ReplicaMemory(vector.device, trainable, self._momentum > 0) for vector in parameters]
        if self._shares_updates:
            self._agreed = tf.Variable(parameters[0][:trainable], trainable=False)

    def reduce_gradients(self, gradients: Sequence[tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """R x [D] -> R times the combined message of all W."""
        if self._shares_updates:
            return [memory.sound_gradient(gradient) for memory, gradient in zip(self._memories, gradients, strict=True)]
        return [self._exchange(gradients, step)] * len(gradients)

    def parameters_due(self, step: int) -> bool:
        """Every step when updates are shared, else never."""
        return self._shares_updates

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> the agreed parameters, moved by the exchanged updates, and the mean of the statistics."""
        if self._agreed is None:
            return self.consensus(parameters)
        updates = [
            memory.marked(vector[: self._trainable] - self._agreed)
            for memory, vector in zip(self._memories, parameters, strict=True)
        ]
        self._agreed.assign_add(self._exchange(updates, step - 1))
        statistics = agreed_parameters(self.collective, parameters, self._trainable)[self._trainable :]
        self.bytes_sent.assign_add(mean_bytes(vectors.size([statistics]), self.collective.size))
        return tf.concat([self._agreed, statistics], axis=0)

    def consensus(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [S] -> [S]: the trainables as they are, the statistics averaged."""
        return agreed_parameters(self.collective, parameters, self._trainable)

    def measurements(self) -> dict[str, tf.Tensor]:
        """Bytes and skipped steps so far, the last step's density and threshold, max |residual| in thresholds."""
        largest = tf.reduce_max([tf.reduce_max(tf.abs(memory.residual)) for memory in self._memories])
        return {
            "bytes_sent": self.bytes_sent,
            "skipped_steps": self._skipped,
            "density": self._density,
            "threshold": self._threshold,
            "residual_ratio": tf.math.divide_no_nan(largest, self._threshold),
        }

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """The replica's residual and velocity."""
        return self._memories[index].state()

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """Threshold, density, counters, and the agreed parameters of `shares: updates`."""
        state = {
            "threshold": self._threshold,
            "density": self._density,
            "skipped_steps": self._skipped,
            "bytes_sent": self.bytes_sent,
        }
        return state if self._agreed is None else {**state, "agreed": self._agreed}

    def _exchange(self, contributions: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [D] -> [D], as every replica of the job gets it."""
        # Without a threshold yet (a warm-up step was skipped, or its gradient was zero) the exchange stays dense.
        return tf.cond(
            tf.logical_or(step < self._warmup, self._threshold <= 0),
            lambda: self._exchange_dense(contributions, step),
            lambda: self._exchange_sparse(contributions, step),
        )

    def _moving(self, index: int, contribution: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Clips, applies momentum: [D] -> (new velocity [D], contribution [D])."""
        if self._clip_norm is not None:
            contribution = tf.clip_by_norm(contribution, self._clip_norm)
        velocity = self._memories[index].velocity
        if velocity is None:
            return contribution, contribution
        moved = self._momentum * velocity + contribution
        return moved, (contribution + self._momentum * moved if self._nesterov else moved)

    def _exchange_dense(self, contributions: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        moving = [self._moving(index, each) for index, each in enumerate(contributions)]
        mean = self.collective.mean([contribution for _, contribution in moving])
        self.bytes_sent.assign_add(mean_bytes(self._trainable, self.collective.size))

        def accept() -> tf.Tensor:
            for memory, (velocity, _) in zip(self._memories, moving, strict=True):
                memory.keep_velocity(velocity)
            self._density.assign(1.0)
            if self._policy.initial is None:
                self._start_threshold(mean, step)
            return mean * (self._scale * self.collective.size)

        return tf.cond(tf.reduce_all(tf.math.is_finite(mean)), accept, self._skip)

    def _start_threshold(self, mean: tf.Tensor, step: tf.Tensor) -> None:
        """On the last dense step, all take the same quantile of the same mean, among what is not zero."""

        def quantile() -> tf.Tensor:
            sample = tf.abs(mean[:: -(-self._trainable // SAMPLE)])
            wanted = tf.cast(tf.cast(tf.size(sample), tf.float32) * self._policy.density(step + 1), tf.int32)
            there = tf.math.count_nonzero(sample, dtype=tf.int32)
            return tf.math.top_k(sample, tf.maximum(tf.minimum(wanted, there), 1)).values[-1]

        last = step >= self._warmup - 1
        self._threshold.assign(tf.cond(last, quantile, lambda: self._threshold.read_value()))

    def _exchange_sparse(self, contributions: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        threshold = self._threshold.read_value()
        attempts = [self._attempt(index, each, threshold) for index, each in enumerate(contributions)]
        messages = self.collective.gather([attempt.message for attempt in attempts])
        words = tf.add_n([tf.size(message) for message in messages])
        self.bytes_sent.assign_add(gather_bytes(words, self.collective.size))
        return tf.cond(
            tf.reduce_any([messages_of.is_void(message) for message in messages]),
            self._skip,
            lambda: self._accept(attempts, messages, threshold, step),
        )

    def _attempt(self, index: int, contribution: tf.Tensor, threshold: tf.Tensor) -> _Attempt:
        memory = self._memories[index]
        with tf.device(memory.device):
            velocity, contribution = self._moving(index, contribution)
            accumulated = memory.residual + contribution
            message = tf.cond(
                tf.reduce_all(tf.math.is_finite(accumulated)),
                lambda: self._codec.encode(accumulated, threshold),
                lambda: messages_of.void(threshold),
            )
        return _Attempt(velocity, accumulated, message)

    def _accept(
        self,
        attempts: Sequence[_Attempt],
        messages: Sequence[tf.Tensor],
        threshold: tf.Tensor,
        step: tf.Tensor,
    ) -> tf.Tensor:
        signs = [self._codec.decode(message, self._trainable) for message in messages]
        for memory, attempt, rank in zip(self._memories, attempts, self.collective.ranks, strict=True):
            with tf.device(memory.device):
                memory.residual.assign(attempt.accumulated - threshold * signs[rank])
                sent = tf.not_equal(signs[rank], 0)
                memory.keep_velocity(tf.where(sent, 0.0, attempt.velocity) if self._masking else attempt.velocity)
        elements = tf.add_n([tf.cast(messages_of.count(message), tf.float32) for message in messages])
        density = elements / (self._trainable * self.collective.size)
        self._density.assign(density)
        self._threshold.assign(tf.maximum(self._policy.next(threshold, density, step), SMALLEST))
        # Whole numbers below 2^24 add up exactly; the scale is applied once, so every process gets the same bits.
        return tf.add_n(signs) * (threshold * self._scale)

    def _skip(self) -> tf.Tensor:
        self._skipped.assign_add(1)
        return tf.zeros([self._trainable])
