"""Every replica trains alone; every K steps all take the mean of their parameters.

K times fewer exchanges than gradient averaging, at the price of replicas that drift apart between them.

References:
    McDonald et al. 2010; DeepLearning4j's ParallelWrapper and ParameterAveragingTrainingMaster. A ragged last batch is
    weighted by its examples (data/pipeline.py), which DeepLearning4j does not do.
"""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.collectives.ordered import ordered_mean
from tfscale.strategies.base import Averaging
from tfscale.vectors import Layout


@final
class ParameterAveraging(Averaging):
    """The mean of parameters and statistics (and of optimizer slots, if asked) every K steps.

    Args:
        collective: How replicas exchange tensors.
        reproducible: Whether they add in replica order: the same bits on any number of processes.
        every: K, in optimizer steps.
        average_optimizer: Whether momentum and other optimizer slots are averaged too; if not, each replica keeps its
            own.
        report_after_averaging: Whether the averaged model's loss on the round's last batches is measured and logged.
    """

    exchanges_gradients = False

    def __init__(
        self,
        *,
        collective: Collective,
        reproducible: bool,
        every: int,
        average_optimizer: bool,
        report_after_averaging: bool,
    ) -> None:
        super().__init__(collective=collective, reproducible=reproducible)
        self.averages_optimizer = average_optimizer
        self.reports_after_averaging = report_after_averaging
        self._every = every

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout) -> None:
        """Nothing to create."""

    def reduce_gradients(
        self, gradients: Sequence[tf.Tensor], parameters: Sequence[Sequence[tf.Tensor]], step: tf.Tensor
    ) -> list[tf.Tensor]:
        """Each replica keeps its own."""
        return list(gradients)

    def parameters_due(self, step: int) -> bool:
        """Every K steps, unless there is nothing to average with."""
        return self.collective.size > 1 and step % self._every == 0

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> the mean [S] over all W."""
        return self.mean(parameters)

    def consensus(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [S] -> the mean [S] over all W."""
        if self._reproducible:
            return ordered_mean(self.collective, parameters)
        return self.collective.mean(parameters)
