"""Every step applies the mean gradient of all replicas: synchronous data parallelism by allreduce.

References:
    Goyal et al. 2017; Sergeev and Del Balso 2018 (Horovod). One flat tensor a step instead of one a variable.
"""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.strategies.base import Averaging, agreed_parameters
from tfscale.vectors import Layout


@final
class GradientAveraging(Averaging):
    """W replicas with batch B compute what one replica with batch B * W computes.

    Args:
        collective: How replicas exchange tensors.
        reproducible: Whether they add in replica order: the same bits on any number of processes.
    """

    exchanges_gradients = True
    averages_optimizer = False
    reports_after_averaging = False

    def __init__(self, *, collective: Collective, reproducible: bool) -> None:
        super().__init__(collective=collective, reproducible=reproducible)
        self._trainable = 0

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout) -> None:
        """See `base.Strategy`."""
        self._trainable = layout.size

    def reduce_gradients(
        self, gradients: Sequence[tf.Tensor], parameters: Sequence[Sequence[tf.Tensor]], step: tf.Tensor
    ) -> list[tf.Tensor]:
        """R x [D] -> R times the mean over all W."""
        return [self.mean(gradients)] * len(gradients)

    def parameters_due(self, step: int) -> bool:
        """Never: equal gradients keep equal parameters equal."""
        return False

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> [S]; see `consensus`."""
        return self.consensus(parameters)

    def consensus(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [S] -> [S]: the trainables as they are, the statistics averaged."""
        return agreed_parameters(self.collective, parameters, self._trainable)
