"""Every step applies the mean gradient of all replicas: synchronous data parallelism by allreduce.

A mean that is not finite, because a replica's gradient was not, is not applied: all replicas skip the step alike, and
their optimizers see a gradient of zeros. With its gradient each replica says which parameters it holds (see `drift`).

References:
    Goyal et al. 2017; Sergeev and Del Balso 2018 (Horovod). One flat tensor a step instead of one a variable.
"""

from collections.abc import Mapping, Sequence
from typing import final

import tensorflow as tf

from tfscale import digest
from tfscale.collectives import consistency
from tfscale.collectives.base import Collective
from tfscale.strategies.base import Averaging, Tensors, agreed_parameters, cut, flattened
from tfscale.vectors import Layout, counter


@final
class GradientAveraging(Averaging):
    """W replicas with batch B compute what one replica with batch B * W computes.

    Args:
        collective: How replicas exchange tensors.
        reproducible: Whether they add in replica order: the same bits on any number of processes.
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

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout) -> None:
        """See `base.Strategy`."""
        self._trainable = layout.size
        self._devices = [vector.device for vector in parameters]
        self._digest = digest.choose(self._devices)

    def reduce_gradients(
        self, gradients: Sequence[Tensors], parameters: Sequence[Tensors], step: tf.Tensor
    ) -> list[list[tf.Tensor]]:
        """R times the mean over all W; zeros if it is not finite, and the step is counted as skipped.

        Raises:
            tf.errors.InvalidArgumentError: A replica's parameters are not those of the others.
        """
        replicas = self.collective.size
        digest_slots = consistency.digest_slots(map(self._digest, parameters), self.collective.ranks, replicas)
        dense = [[*own, ballot] for own, ballot in zip(gradients, digest_slots, strict=True)]
        received = self.mean(flattened(dense, self._devices))
        mean, told = received[: self._trainable], received[self._trainable :]

        def skip() -> tf.Tensor:
            self._skipped.assign_add(1)
            return tf.zeros_like(mean)

        agreed = consistency.require_consistent(consistency.decode_digests(told, replicas), step)
        with tf.control_dependencies([] if agreed is None else [agreed]):
            usable = tf.reduce_all(tf.math.is_finite(mean))
        reduced = tf.cond(usable, lambda: mean, skip)
        return cut([reduced] * len(gradients), parameters, self._devices)

    def parameters_due(self, step: int) -> bool:
        """Never: equal gradients keep equal parameters equal."""
        return False

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> [S]; see `consensus`."""
        return self.consensus(parameters)

    def measurements(self) -> dict[str, tf.Tensor]:
        """Bytes and skipped steps so far."""
        return {**super().measurements(), "skipped_steps": self._skipped.read_value()}

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """The counts of bytes and of skipped steps."""
        return {**super().shared_state(), "skipped_steps": self._skipped}

    def consensus(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [S] -> [S]: the trainables as they are, the statistics averaged."""
        return agreed_parameters(self.collective, parameters, self._trainable)
