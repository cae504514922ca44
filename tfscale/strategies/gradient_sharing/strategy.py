"""Threshold gradient sharing: sends only elements that have grown large and keeps the rest in a residual.

    residual += contribution
    for every element with |residual| >= threshold: send its sign; residual -= sign * threshold
    every replica applies the scaled sum of what all replicas sent

The threshold moves with the density of all gathered messages, which are the same in every process, so all replicas have
the same threshold. A sum of messages is then an integer times the threshold: the same bits in any order. The first
threshold is the mean of the proposals in the first messages (see `compression.threshold_proposal`).

With `delay: 1` an exchange carries the messages of the step before, so that it overlaps with the computation of
gradients, and a contribution takes effect one step later.

A replica whose gradient cannot be used (NaN, Inf or an element beyond 2^63) sends a skip message, and all replicas skip
the step: what each was about to send returns to its residual, where usable contributions stay. Contributions to tensors
that are exchanged densely, and all contributions of a dense step, are lost then. Optimizers get a gradient of zeros.

References:
    Strom 2015 (the rule). Lin et al. 2018, "Deep Gradient Compression" (momentum correction, factor masking, local
    clipping by norm / sqrt(W)); their warm-up is `threshold.ramp`. DeepLearning4j's SharedTrainingMaster (`shares:
    updates`, residual clipping). Unlike in all three, replicas share one threshold, and messages are verified.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, final

import tensorflow as tf

from tfscale import digest, vectors
from tfscale.collectives.base import Collective
from tfscale.collectives.ordered import ordered_bytes, ordered_mean
from tfscale.collectives.traffic import Traffic
from tfscale.compression.backends.base import Spec
from tfscale.compression.backends.select import Kernel, select
from tfscale.compression.codecs.base import MAXIMUM_SIZE, Codec
from tfscale.compression.reducer import CompressedReducer
from tfscale.compression.routes import Reduce, divides
from tfscale.compression.schedule import Schedule
from tfscale.compression.thresholds import Threshold
from tfscale.errors import UserError
from tfscale.kernels import library
from tfscale.strategies.base import Description, Tensors, agreed_parameters, cut, flattened
from tfscale.strategies.gradient_sharing.figures import of_all_tensors, of_messages, of_tensors
from tfscale.strategies.gradient_sharing.groups import Groups
from tfscale.strategies.gradient_sharing.measurements import measurements
from tfscale.strategies.outer_optimizer import OuterOptimizer
from tfscale.vectors import Layout


@final
class GradientSharing(tf.Module):
    """Exchanges threshold-compressed gradients, or the updates that each replica's own optimizer computes.

    Args:
        collective: Exchanges messages between replicas.
        group: G, replicas of one process that average their gradients and share as one (see `groups`).
        codec: The codes of messages.
        threshold: The policy that sets thresholds.
        per_tensor: Whether each trainable tensor has a threshold of its own.
        shares: `gradients`: every optimizer applies the exchanged gradient, so optimizers stay equal. `updates`: each
            optimizer applies its replica's own gradient, and the change of the parameters is exchanged.
        every: K, optimizer steps that replicas take alone before the change is exchanged; needs `updates` if above 1.
        outer: Optimizer of the shared parameters, which takes the exchanged updates.
        combine: `mean` over replicas, `sum`, or `root`: the sum over the root of W.
        levels: L, the most thresholds that one message sends of an element.
        residual_decay: Factor of residuals at every exchange, in (0, 1]; what is lost is counted.
        min_size: Tensors with fewer elements are exchanged densely, in the same message.
        clip_norm: Bound of a contribution's l2 norm, times sqrt(W); None for no clipping.
        clip_residual: Bound of residuals in thresholds, applied every `clip_every` steps; None for no clipping.
        clip_every: Steps between two clippings of residuals.
        warmup: Number of first steps that are dense.
        flush_every: Steps between two dense steps that also exchange residuals; None for never.
        delay: Steps between a contribution and its effect, 0 or 1.
        momentum: Momentum applied before compression, in [0, 1); the optimizer then has none.
        nesterov: Whether that momentum is Nesterov's.
        masking: Whether momentum is cleared where an element was sent.
        auto: Whether an allreduce takes over if it is measured to be faster on this link (see `autotune`).
        reduce: Whether each replica adds one part of the elements (see `compression.routes`); the bits are the same.
        kernel: `native`, `reference`, or `auto`: native where it is built and all replicas are on CPUs.
    """

    averages_optimizer = False
    reports_after_averaging = False
    is_reproducible = True

    def __init__(
        self,
        *,
        collective: Collective,
        group: int,
        codec: Codec,
        threshold: Threshold,
        per_tensor: bool,
        shares: Literal["gradients", "updates"],
        every: int,
        outer: OuterOptimizer,
        combine: Literal["mean", "root", "sum"],
        levels: int,
        residual_decay: float,
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
        reduce: Reduce,
        kernel: Kernel,
    ) -> None:
        super().__init__()
        self.collective = collective
        self._groups = Groups(collective, group)
        self._between = between = self._groups.collective
        self.senders = between.size
        self._every, self._outer = every, outer
        self.exchanges_gradients = self.keeps_parameters_equal = every == 1
        self._codec, self._policy, self._per_tensor = codec, threshold, per_tensor
        self._kernel: Kernel = kernel
        self._reduce: Reduce = reduce
        self._shares_updates = shares == "updates"
        self.keeps_optimizers_equal = not self._shares_updates
        self._scale = {"mean": 1.0 / between.size, "root": between.size**-0.5, "sum": 1.0}[combine]
        self._levels = levels
        self._min_size, self._momentum, self._nesterov, self._masking = min_size, momentum, nesterov, masking
        self._schedule = Schedule(
            every=every,
            warmup=warmup,
            flush_every=flush_every,
            delay=delay,
            auto=auto,
            residual_decay=residual_decay,
            clip_norm=None if clip_norm is None else clip_norm / between.size**0.5,
            clip_residual=clip_residual,
            clip_every=clip_every,
        )
        self._agreed: tf.Variable | None = None

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout, learning_rate: Callable[[], tf.Tensor]) -> None:
        """Creates residuals (and velocities) [D] beside each replica's parameters, all zero.

        Raises:
            UserError: D >= 2^31, more than an index has bits for; or kernel is `native` and cannot be used.
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
            levels=self._levels,
            codes=[code for code in self._codec.codes if code.repeats or self._levels == 1],
            scale=self._scale,
        )
        self._divides = divides(self._reduce, self._between.size, spec.codes, spec.dense_size, layout.size)
        spec = replace(spec, parts=self._between.size if self._divides else 0)
        self._devices = [vector.device for vector in parameters]
        self._digest = digest.choose(self._devices)
        self._reducer = CompressedReducer(
            collective=self._between,
            backend=select(self._kernel, spec, self._devices),
            spec=spec,
            policy=self._policy,
            per_tensor=self._per_tensor,
            schedule=self._schedule,
            devices=self._groups.first(self._devices),
            learning_rate=None if self._every == 1 else learning_rate,
        )
        if self._schedule.auto and not self._reducer.stopwatch.works:
            raise UserError(
                f"strategy.auto=true cannot measure: op determinism forbids TensorFlow's clock; type: {library.BUILD}"
            )
        self._compression = self._reducer.state
        self.bytes_sent = self._compression.bytes_sent
        self._layout, self._statistics = layout, vectors.size(parameters[:1]) - layout.size
        if self._shares_updates:
            self._agreed = tf.Variable(parameters[0][: layout.size], trainable=False)
            self._outer.build(self._agreed.read_value(), self._between.size)

    def describe(self) -> Description:
        """Returns what is shared and what compresses it, and how the figures of compression are shown."""
        notes = [f"messages are made by {self._reducer.backend.name}", *self._groups.notes]
        if self._shares_updates:
            rounds = "" if self._every == 1 else f", after {self._every:,} steps each"
            notes += [f"updates of each replica's own optimizer are shared{rounds}"]
            notes += [self._outer.note] if self._outer.is_active else []
        notes += ["each replica adds a part of the elements, and the sums are gathered"] if self._divides else []
        if self._momentum:
            notes.append(f"momentum {self._momentum:g} is applied before compression, not by the optimizer")
        return Description(notes=notes, measurements=measurements(targets=self._policy.targets))

    def reduce_gradients(
        self, gradients: Sequence[Tensors], parameters: Sequence[Tensors], step: tf.Tensor
    ) -> list[list[tf.Tensor]]:
        """Returns the sum of all messages, R times; with `shares: updates`, each replica's own gradient."""
        groups = self._groups
        if self._shares_updates:
            own = self._reducer.keep_usable(groups.tensors(gradients, self._devices))
            return [list(each) for each in groups.of_each(own)]
        vectors = groups.means(flattened(gradients, self._devices), self._devices)
        checked = [self._reducer.backend.check(vector) for vector in vectors]
        with tf.control_dependencies(groups.require_equal(self._digest, parameters, step)):
            digests = [self._digest(own) for own in groups.first(parameters)]
        return cut([self._reducer(checked, digests, step)] * len(gradients), parameters, self._devices)

    def parameters_due(self, step: int) -> bool:
        """Returns True every K steps if updates are shared, else False."""
        return self._shares_updates and step % self._every == 0

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> the shared parameters plus the exchanged updates, and the mean of the statistics.

        With rounds of several steps it is [D]: each replica keeps its own statistics until somebody looks at them.
        """
        if self._agreed is None:
            return self.consensus(parameters, averaged=False)
        size, error_feedback, check = self._layout.size, self._compression.error_feedback, self._reducer.backend.check
        own_trainables = [[vector[:size]] for vector in parameters]
        with tf.control_dependencies(self._groups.require_equal(self._digest, own_trainables, step)):
            parameters = self._groups.parameters(parameters, self._devices, size)
        updates = [check(vector[:size] - self._agreed) for vector in parameters]
        if self._every == 1:
            updates = [feedback.mark_usable(each) for feedback, each in zip(error_feedback, updates, strict=True)]
        own_digest = self._digest([self._agreed.read_value()])
        change = self._reducer(updates, [own_digest] * len(updates), step - self._every)
        self._agreed.assign(self._moved(self._agreed, change))
        if self._every > 1:
            return self._agreed.read_value()
        statistics = agreed_parameters(self._between, parameters, size)[size:]
        if elements := vectors.size([statistics]):
            self.bytes_sent.assign_add(ordered_bytes(elements, self._between.size))
        return tf.concat([self._agreed, statistics], axis=0)

    def _moved(self, agreed: tf.Variable, change: tf.Tensor) -> tf.Tensor:
        """Returns the shared parameters [D] after an exchange that changes them by [D]; nothing changes if skipped."""
        shared = agreed.read_value()
        plain = shared + change
        if not self._outer.is_active:
            return plain
        return tf.cond(self._compression.is_skipped, lambda: shared, lambda: self._outer(plain, change))

    def consensus(self, parameters: Sequence[tf.Tensor], *, averaged: bool) -> tf.Tensor:
        """R x [S] -> [S]: the shared trainables, and the mean of the statistics.

        Within a round of several steps these are the trainables of its start, which cost no exchange; averages of the
        weights differ between replicas then, and their mean does cost one.
        """
        parameters = self._groups.parameters(parameters, self._devices, self._layout.size)
        if self._agreed is not None and self._every > 1:
            if averaged:
                return ordered_mean(self._between, parameters)
            size = self._layout.size
            parameters = [tf.concat([self._agreed, vector[size:]], axis=0) for vector in parameters]
        return agreed_parameters(self._between, parameters, self._layout.size)

    def traffic(self) -> Sequence[Traffic]:
        """Returns exchanges as long as the last ones, and statistics with shared updates; no dense steps."""
        hidden = self._schedule.delay > 0 and not self._shares_updates  # updates are exchanged between two steps
        traffic = of_messages(self._compression, every=self._every, is_hidden=hidden, divides=self._divides)
        if self._shares_updates and self._every == 1 and self._statistics:
            traffic.append(Traffic(kind="gather", words=self._statistics + 1))
        return traffic

    def measurements(self) -> dict[str, tf.Tensor]:
        """Returns totals (bytes, skipped steps, clipped mass) and figures of the last compressed step.

        `residual_ratio` is the largest |residual| of the replicas of this process before sending, in thresholds;
        `clipped` and `decayed` are the sums of |residual| that clipping and decay removed; `threshold` is the mean over
        tensors.
        """
        clips = self._schedule.clip_residual is not None
        figures = of_all_tensors(self._compression, self._layout, self._between.size, clips=clips)
        return {**figures, **self._reducer.stopwatch.milliseconds()}

    def tensor_measurements(self) -> dict[str, tf.Tensor]:
        """Returns name -> [T]: density, threshold and residual ratio of each tensor in the last step."""
        return of_tensors(self._compression, self._layout, self._between.size)

    def autotune(self, step: int) -> str | None:
        """Chooses compression or an allreduce once, with `auto`, at step 100 or later, by their measured times."""
        return self._reducer.autotune(step)

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """Returns the residual, velocity and pending message of a replica, or of the group whose first one it is."""
        return self._groups.variables([each.own() for each in self._compression.error_feedback], index)

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """Returns thresholds, counters and, with `shares: updates`, the shared parameters."""
        shared = self._compression.shared()
        return shared if self._agreed is None else {**shared, "agreed": self._agreed, **self._outer.state()}
