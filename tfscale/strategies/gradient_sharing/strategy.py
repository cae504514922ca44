"""Every step sends only what has grown large, and keeps the rest for later: threshold gradient sharing.

    residual += contribution
    send +-threshold for every element with |residual| >= threshold; residual -= what was sent
    every replica applies the sum (or mean) of what all replicas sent

Thresholds are agreed: they move with the density of all gathered messages, which every process reads alike, so a sum of
messages is a threshold times an integer: the same bits everywhere, whatever the order. The first ones are proposed by
all replicas in their first messages (see `opening`).

There is one collective a step. With `delay: 1` it carries the messages of the step before, so that it runs while the
gradients are computed, and what a step contributes is applied one step later.

A replica with a gradient that cannot be used (NaN, Inf, beyond 2^63) sends a void message, and then all skip the step:
what each was about to send returns to its residual, and what sound replicas contributed waits there (but for tensors
that are exchanged whole, and in dense steps: theirs is lost). Optimizers see a gradient of zeros at such a step.

References:
    Strom 2015 (the rule). Lin et al. 2018, "Deep Gradient Compression" (momentum correction, factor masking, local
    clipping by norm / sqrt(W)); their warm-up is `threshold.ramp`. DeepLearning4j's SharedTrainingMaster (`shares:
    updates`, residual clipping). Unlike all three, thresholds are agreed, and a step's messages verify each other.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, final

import tensorflow as tf

from tfscale import digest, vectors
from tfscale.collectives.base import Collective
from tfscale.collectives.ordered import ordered_bytes
from tfscale.compression import autotune
from tfscale.compression.autotune import Autotune
from tfscale.compression.backends.base import Spec
from tfscale.compression.backends.select import Kernel, select
from tfscale.compression.codecs.base import MAXIMUM_SIZE, Codec
from tfscale.compression.reducer import CompressedReducer
from tfscale.compression.schedule import Schedule
from tfscale.compression.thresholds import Threshold
from tfscale.errors import UserError
from tfscale.kernels import library
from tfscale.strategies.base import Tensors, agreed_parameters, cut, flattened
from tfscale.vectors import Layout


@final
class GradientSharing(tf.Module):
    """Threshold-compressed exchange of gradients, or of the updates that each replica's optimizer made of its own.

    Args:
        collective: How replicas exchange tensors.
        codec: How a message may be written.
        threshold: Where thresholds start and how they move.
        per_tensor: Whether each trainable tensor has a threshold of its own.
        shares: `gradients`: one optimizer step on what was exchanged, optimizer state equal everywhere. `updates`: each
            replica's optimizer runs on its own gradient, and the change of the parameters is exchanged.
        combine: `mean` over replicas, `sum`, or `root`: the sum over the root of W.
        min_size: Tensors with fewer elements are exchanged whole, in the same message.
        clip_norm: Clips each contribution to clip_norm / sqrt(W) in l2 norm; None for no clipping.
        clip_residual: Clips residuals to so many thresholds, every `clip_every` steps; None for no clipping.
        clip_every: Steps between two clippings of residuals.
        warmup: The first steps that exchange everything, dense.
        flush_every: Steps between two that exchange everything, residuals included; None for never.
        delay: Steps between a contribution and its effect, 0 or 1.
        momentum: Momentum applied before compression, in [0, 1); the optimizer must then have none.
        nesterov: Whether that momentum looks ahead.
        masking: Whether momentum is cleared where an element was sent.
        auto: Whether an allreduce takes over if it turns out to be faster on this link (see `review`).
        kernel: `auto`: native where it is built and the replicas are on CPUs; `native`; or `reference`. `plain` is an
            old word for `reference`.
    """

    averages_optimizer = False
    keeps_parameters_equal = True
    reports_after_averaging = False

    def __init__(
        self,
        *,
        collective: Collective,
        codec: Codec,
        threshold: Threshold,
        per_tensor: bool,
        shares: Literal["gradients", "updates"],
        combine: Literal["mean", "root", "sum"],
        min_size: int,
        clip_norm: float | None,
        clip_residual: float | None,
        clip_every: int,
        warmup: int,
        flush_every: int | None,
        delay: int,
        momentum: float,
        nesterov: bool,
        masking: bool,
        auto: bool,
        kernel: Literal["auto", "native", "reference", "plain"],
    ) -> None:
        super().__init__()
        self.collective = collective
        self.exchanges_gradients = True
        self._codec, self._policy, self._per_tensor = codec, threshold, per_tensor
        self._kernel: Kernel = "reference" if kernel == "plain" else kernel
        self._shares_updates = shares == "updates"
        self.keeps_optimizers_equal = not self._shares_updates
        self._scale = {"mean": 1.0 / collective.size, "root": collective.size**-0.5, "sum": 1.0}[combine]
        self._min_size, self._momentum, self._nesterov, self._masking = min_size, momentum, nesterov, masking
        self._schedule = Schedule(
            warmup=warmup,
            flush_every=flush_every,
            delay=delay,
            auto=auto,
            clip_norm=None if clip_norm is None else clip_norm / collective.size**0.5,
            clip_residual=clip_residual,
            clip_every=clip_every,
        )
        self._agreed: tf.Variable | None = None

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout) -> None:
        """Creates residuals (and velocities) [D] beside each replica's parameters, all zero.

        Raises:
            UserError: D >= 2^31, more than an index has bits for; or the native kernel is demanded and cannot be used.
        """
        if layout.size >= MAXIMUM_SIZE:
            raise UserError(
                f"strategy=sharing handles models below 2^31 trainable parameters, this one has {layout.size:,}; "
                "use strategy=horovod"
            )
        spec = Spec(
            layout=layout,
            min_size=self._min_size,
            momentum=self._momentum,
            nesterov=self._nesterov,
            masking=self._masking,
            codes=self._codec.codes,
            scale=self._scale,
        )
        self._devices = [vector.device for vector in parameters]
        self._digest = digest.choose(self._devices)
        self._reducer = CompressedReducer(
            collective=self.collective,
            backend=select(self._kernel, spec, self._devices),
            spec=spec,
            policy=self._policy,
            per_tensor=self._per_tensor,
            schedule=self._schedule,
            devices=self._devices,
        )
        if self._schedule.auto and not self._reducer.stopwatch.works:
            raise UserError(
                f"strategy.auto=true cannot measure: op determinism forbids TensorFlow's clock; type: {library.BUILD}"
            )
        self._compression = self._reducer.state
        self.bytes_sent = self._compression.bytes_sent
        self._autotune = Autotune(self.collective, layout.size)
        self._layout = layout
        if self._shares_updates:
            self._agreed = tf.Variable(parameters[0][: layout.size], trainable=False)

    @property
    def compressor(self) -> str:
        """What computes, for the run's first lines."""
        return self._reducer.backend.name

    def reduce_gradients(
        self, gradients: Sequence[Tensors], parameters: Sequence[Tensors], step: tf.Tensor
    ) -> list[list[tf.Tensor]]:
        """R times the combined message of all W; with `shares: updates`, each replica's own."""
        error_feedback, check = self._compression.error_feedback, self._reducer.backend.check
        checked = [check(gradient) for gradient in flattened(gradients, self._devices)]
        if self._shares_updates:
            own = [feedback.keep_usable(gradient) for feedback, gradient in zip(error_feedback, checked, strict=True)]
            return cut(own, parameters, self._devices)
        digests = [self._digest(own) for own in parameters]
        return cut([self._reducer(checked, digests, step)] * len(gradients), parameters, self._devices)

    def parameters_due(self, step: int) -> bool:
        """Every step when updates are shared, else never."""
        return self._shares_updates

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> the agreed parameters, moved by the exchanged updates, and the mean of the statistics."""
        if self._agreed is None:
            return self.consensus(parameters)
        size, error_feedback, check = self._layout.size, self._compression.error_feedback, self._reducer.backend.check
        updates = [
            feedback.mark_usable(check(vector[:size] - self._agreed))
            for feedback, vector in zip(error_feedback, parameters, strict=True)
        ]
        held = self._digest([self._agreed.read_value()])
        self._agreed.assign_add(self._reducer(updates, [held] * len(updates), step - 1))
        statistics = agreed_parameters(self.collective, parameters, size)[size:]
        if elements := vectors.size([statistics]):
            self.bytes_sent.assign_add(ordered_bytes(elements, self.collective.size))
        return tf.concat([self._agreed, statistics], axis=0)

    def consensus(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [S] -> [S]: the trainables as they are, the statistics averaged."""
        return agreed_parameters(self.collective, parameters, self._layout.size)

    def measurements(self) -> dict[str, tf.Tensor]:
        """Bytes, skipped steps and clipped mass so far; density, threshold, peak and times of the last compressed step.

        `residual_ratio` is the largest |residual| of this process's replicas in thresholds, before sending, and
        `clipped` the mass that they lost. `threshold` is the mean where tensors have their own.
        """
        state = self._compression
        sent = tf.cast(tf.reduce_sum(state.counts), tf.float32)
        clipped = (
            {}
            if self._schedule.clip_residual is None
            else {"clipped": tf.add_n([feedback.clipped.read_value() for feedback in state.error_feedback])}
        )
        return {
            "bytes_sent": state.bytes_sent.read_value(),
            "skipped_steps": state.skipped_steps.read_value(),
            "density": sent / (self._layout.size * self.collective.size),
            "threshold": tf.reduce_mean(state.thresholds),
            "residual_ratio": tf.reduce_max(tf.math.divide_no_nan(state.peaks, state.thresholds)),
            **clipped,
            **self._reducer.stopwatch.milliseconds(),
        }

    def tensor_measurements(self) -> dict[str, tf.Tensor]:
        """Name -> [T]: the last step's density, threshold and largest |residual| in thresholds of each tensor."""
        state = self._compression
        elements = tf.constant([max(size, 1) * self.collective.size for size in self._layout.sizes], tf.float32)
        return {
            "density": tf.cast(state.counts, tf.float32) / elements,
            "threshold": tf.broadcast_to(state.thresholds, state.peaks.shape),
            "residual_ratio": tf.math.divide_no_nan(state.peaks, state.thresholds),
        }

    def autotune(self, step: int) -> str | None:
        """With `auto`, once, at step 100 or later: compression or an allreduce from here on, by what they take."""
        state = self._compression
        if not self._schedule.auto or step % autotune.EVERY or state.autotuned or state.steered < autotune.STEERED:
            return None
        decision = self._autotune(self._reducer.stopwatch.least_seconds())
        state.bytes_sent.assign_add(self._autotune.bytes)
        if decision is None:
            return None
        loses, figures = decision
        state.autotuned.assign(True)
        state.off.assign(loses)
        return f"{figures}: {'an allreduce takes over' if loses else 'compression stays'}"

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """The replica's residual, velocity and pending message."""
        return self._compression.error_feedback[index].own()

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """Thresholds, counters, and the agreed parameters of `shares: updates`."""
        shared = self._compression.shared()
        return shared if self._agreed is None else {**shared, "agreed": self._agreed}
