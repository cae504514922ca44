"""Replicas train alone and take the mean of their parameters every K steps.

That is K times fewer exchanges than gradient averaging, with replicas that differ between two averagings.

A gradient that is not finite is not applied: its replica skips the step alone (its optimizer gets a gradient of zeros),
and all replicas get the count at the next averaging. What replicas continue with is compared between processes before
it is used.

An outer optimizer (`strategies.outer_optimizer`) takes the change of the trainable tensors since the last averaging for
a step of its own; statistics and optimizer slots are averaged. A mean that is not finite leaves it as it was.

The trainable tensors can travel as int8 or float16 (`payload`); the rest travels as float32.

References:
    McDonald et al. 2010; DeepLearning4j's ParallelWrapper and ParameterAveragingTrainingMaster. A ragged last batch is
    weighted by its examples (data/pipeline.py), which DeepLearning4j does not do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import tensorflow as tf

from tfscale import digest, vectors
from tfscale.collectives import consistency
from tfscale.collectives.base import Collective, gather_bytes
from tfscale.collectives.checksummed import gather_checksummed
from tfscale.collectives.ordered import ordered_mean
from tfscale.collectives.traffic import Traffic
from tfscale.errors import UserError
from tfscale.strategies.base import SKIPPED_STEPS, Averaging, Description, Tensors
from tfscale.strategies.outer_optimizer import OuterOptimizer
from tfscale.strategies.parameter_averaging.payload import KINDS, Exchanged, Payload
from tfscale.vectors import Layout, counter

CHECK_WORDS = 3
"""Words of the message that follows an averaging: digest of the result, steps skipped, checksum; one more with int8."""


@final
class ParameterAveraging(Averaging):
    """The mean of parameters and statistics (and of optimizer slots, if asked) every K steps.

    Args:
        collective: Exchanges tensors between replicas.
        reproducible: Whether vectors are added in replica order: the same bits on any number of processes.
        every: K, in optimizer steps.
        payload: Type of the numbers that are sent: float32, or a key of `payload.KINDS`.
        outer: Optimizer of the averaged parameters.
        average_optimizer: Whether momentum and other optimizer slots are averaged, too.
        report_after_averaging: Whether the loss of the averaged model on the last batches is measured and logged.
    """

    exchanges_gradients = False
    keeps_parameters_equal = False
    keeps_optimizers_equal = False

    def __init__(
        self,
        *,
        collective: Collective,
        reproducible: bool,
        every: int,
        payload: str,
        outer: OuterOptimizer,
        average_optimizer: bool,
        report_after_averaging: bool,
    ) -> None:
        super().__init__(collective=collective, reproducible=reproducible)
        if payload not in ("float32", *KINDS):
            raise UserError(f"strategy.payload must be float32, float16 or int8, got {payload}; set one of them")
        self.averages_optimizer = average_optimizer
        self.reports_after_averaging = report_after_averaging
        self._every, self._outer, self._kind = every, outer, payload
        self._payload: Payload | None = None
        self._skipped = counter()
        self._anchor: tf.Variable | None = None

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout, learning_rate: Callable[[], tf.Tensor]) -> None:
        """See `base.Strategy`."""
        self._devices = [vector.device for vector in parameters]
        self._digest = digest.choose(self._devices)
        self._own_skipped = [counter() for _ in parameters]
        self._trainable, self._synchronised = layout.size, vectors.size(parameters[:1])
        trainable = [vector[: layout.size] for vector in parameters]
        self._outer.build(trainable[0], self.collective.size)
        if self._kind in KINDS and self.collective.size > 1:
            self._payload = Payload(self._kind, self.collective, trainable)
        if self._outer.is_active or self._payload is not None:
            self._anchor = tf.Variable(trainable[0], trainable=False)

    def describe(self) -> Description:
        """Returns what the outer optimizer is, if there is one, and the type of what is sent if it is not float32."""
        notes = [] if self._payload is None else [self._payload.note]
        return Description(notes=[*notes, *([self._outer.note] if self._outer.is_active else [])])

    def reduce_gradients(
        self, gradients: Sequence[Tensors], parameters: Sequence[Tensors], step: tf.Tensor
    ) -> list[list[tf.Tensor]]:
        """Returns each replica's own gradient; zeros if it, or the sum of its elements, is not finite."""
        return [
            self._usable(own, device, skipped)
            for own, device, skipped in zip(gradients, self._devices, self._own_skipped, strict=True)
        ]

    def _usable(self, gradients: Tensors, device: str, skipped: tf.Variable) -> list[tf.Tensor]:
        def skip() -> list[tf.Tensor]:
            skipped.assign_add(1)
            return [tf.zeros_like(each) for each in gradients]

        with tf.device(device):
            finite = tf.math.is_finite(tf.add_n([tf.reduce_sum(each) for each in gradients]))
            return list(tf.cond(finite, lambda: list(gradients), skip))

    def parameters_due(self, step: int) -> bool:
        """Returns True every K steps, unless there is one replica and no outer optimizer."""
        return (self.collective.size > 1 or self._outer.is_active) and step % self._every == 0

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> the mean [S] over all W, moved by the outer optimizer and compared between all processes.

        Raises:
            tf.errors.InvalidArgumentError: A process has another result.
        """
        plain, quantized = self._mean(parameters)
        mean = self._moved(plain)
        own = [[self._digest([mean]), tf.cast(each, tf.int32)] for each in self._own_skipped]
        if quantized is not None and quantized.own_sums is not None:
            own = [[*words, each] for words, each in zip(own, quantized.own_sums, strict=True)]
        replicas, words = self.collective.size, len(own[0])
        gathered = gather_checksummed(self.collective, [tf.stack(each) for each in own])
        digests, skipped, *sums = tf.unstack(tf.ensure_shape(tf.stack(gathered), [replicas, words]), axis=1)
        self._skipped.assign(tf.cast(tf.reduce_sum(skipped), tf.int64))
        self.bytes_sent.assign_add(gather_bytes(tf.constant((words + 1) * replicas), replicas))
        whole = quantized.require_whole(sums[0]) if quantized is not None and sums else None
        checks = [consistency.require_consistent(digests, step), whole]
        with tf.control_dependencies([check for check in checks if check is not None]):
            return tf.identity(mean)

    def _mean(self, parameters: Sequence[tf.Tensor]) -> tuple[tf.Tensor, Exchanged | None]:
        """R x [S] -> the mean [S] over all W; and what was exchanged with a payload."""
        size, anchor = self._trainable, self._anchor
        if self._payload is None or anchor is None:
            return self.mean(parameters), None
        agreed, rest = anchor.read_value(), [vector[size:] for vector in parameters]
        quantized = self._payload([vector[:size] for vector in parameters], agreed)
        self.bytes_sent.assign_add(self._payload.bytes_of_one())
        mean = self.mean(rest) if self._synchronised > size else rest[0]
        return tf.concat([agreed + quantized.change, mean], axis=0), quantized

    def _moved(self, mean: tf.Tensor) -> tf.Tensor:
        """[S] -> [S], the step of the outer optimizer; the mean itself if it is not finite.

        The anchor follows, unless the mean is not finite.
        """
        anchor = self._anchor
        if anchor is None:
            return mean
        plain = mean[: self._trainable]

        def move() -> tf.Tensor:
            return anchor.assign(self._outer(plain, plain - anchor))

        finite = tf.reduce_all(tf.math.is_finite(plain))
        return tf.concat([tf.cond(finite, move, lambda: plain), mean[self._trainable :]], axis=0)

    def traffic(self) -> Sequence[Traffic]:
        """Returns the mean of parameters, and the digests that follow it."""
        digests = Traffic(kind="gather", words=CHECK_WORDS + (self._kind == "int8"), every=self._every)
        if self._payload is None:
            return [self.mean_traffic(self._synchronised, self._every), digests]
        rest = self._synchronised - self._trainable
        means = [self.mean_traffic(rest, self._every)] if rest else []
        return [*self._payload.traffic(self._every), *means, digests]

    def measurements(self) -> dict[str, tf.Tensor]:
        """Returns the bytes exchanged, and the steps that replicas have skipped until the last averaging, summed."""
        skipped = self._skipped if self.collective.size > 1 else self._own_skipped[0]
        return {**super().measurements(), SKIPPED_STEPS: skipped.read_value()}

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """Returns the number of steps that the replica has skipped and, with a payload, its residual."""
        residual = {} if self._payload is None else self._payload.state(index)
        return {SKIPPED_STEPS: self._own_skipped[index], **residual}

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """Returns the counts of bytes and of skipped steps, what was agreed last if that is needed, the momentum."""
        anchor = {} if self._anchor is None else {"anchor": self._anchor}
        return {**super().shared_state(), SKIPPED_STEPS: self._skipped, **anchor, **self._outer.state()}

    def consensus(self, parameters: Sequence[tf.Tensor], *, averaged: bool) -> tf.Tensor:
        """R x [S] -> the mean [S] over all W."""
        if self.is_reproducible:
            return ordered_mean(self.collective, parameters)
        return self.collective.mean(parameters)
