"""Applies the mean gradient of all replicas at every step: synchronous data parallelism by allreduce.

A mean that is not finite is not applied: all replicas skip the step, and their optimizers get a gradient of zeros. A
digest of each replica's parameters travels with its gradient (see `collectives.consistency`).

References:
    Goyal et al. 2017; Sergeev and Del Balso 2018 (Horovod). One flat tensor a step instead of one a variable.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import tensorflow as tf

from tfscale import digest
from tfscale.collectives import consistency
from tfscale.collectives.base import Collective
from tfscale.collectives.traffic import Traffic
from tfscale.strategies.base import SKIPPED_STEPS, Averaging, Tensors, agreed_parameters, cut, flattened
from tfscale.vectors import Layout, counter


@final
class GradientAveraging(Averaging):
    """W replicas with batch B compute what one replica with batch B * W computes.

    Args:
        collective: Exchanges tensors between replicas.
        reproducible: Whether vectors are added in replica order: the same bits on any number of processes.
    """

    exchanges_gradients = True
    averages_optimizer = False
    keeps_parameters_equal = True
    keeps_optimizers_equal = True
    reports_after_averaging = False

    def __init__(self, *, collective: Collective, reproducible: bool = False) -> None:
        super().__init__(collective=collective, reproducible=reproducible)
        self._trainable = 0
        self._skipped = counter()

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout, learning_rate: Callable[[], tf.Tensor]) -> None:
        """See `base.Strategy`."""
        self._trainable = layout.size
        self._devices = [vector.device for vector in parameters]
        self._digest = digest.choose(self._devices)

    def reduce_gradients(
        self, gradients: Sequence[Tensors], parameters: Sequence[Tensors], step: tf.Tensor
    ) -> list[list[tf.Tensor]]:
        """Returns the mean over all W, R times; zeros, counted as a skipped step, if it is not finite.

        Raises:
            tf.errors.InvalidArgumentError: A replica's parameters are not those of the others.
        """
        replicas = self.collective.size
        digest_slots = consistency.digest_slots(map(self._digest, parameters), self.collective.ranks, replicas)
        with_digests = [[*own, slots] for own, slots in zip(gradients, digest_slots, strict=True)]
        received = self.mean(flattened(with_digests, self._devices))
        mean, gathered_slots = received[: self._trainable], received[self._trainable :]

        def skip() -> tf.Tensor:
            self._skipped.assign_add(1)
            return tf.zeros_like(mean)

        agreed = consistency.require_consistent(consistency.decode_digests(gathered_slots, replicas), step)
        with tf.control_dependencies([] if agreed is None else [agreed]):
            usable = tf.reduce_all(tf.math.is_finite(mean))
        reduced = tf.cond(usable, lambda: mean, skip)
        return cut([reduced] * len(gradients), parameters, self._devices)

    def parameters_due(self, step: int) -> bool:
        """Returns False: equal gradients keep equal parameters equal."""
        return False

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> [S]: the consensus."""
        return self.consensus(parameters, averaged=False)

    def traffic(self) -> Sequence[Traffic]:
        """Returns the mean of gradients and digests, at every step."""
        return [self.mean_traffic(self._trainable + consistency.SLOTS * self.collective.size)]

    def measurements(self) -> dict[str, tf.Tensor]:
        """Returns the bytes exchanged and the steps skipped since the start."""
        return {**super().measurements(), SKIPPED_STEPS: self._skipped.read_value()}

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """Returns the counts of bytes and of skipped steps."""
        return {**super().shared_state(), SKIPPED_STEPS: self._skipped}

    def consensus(self, parameters: Sequence[tf.Tensor], *, averaged: bool) -> tf.Tensor:
        """R x [S] -> [S]: the trainables unchanged, the statistics averaged."""
        return agreed_parameters(self.collective, parameters, self._trainable)
