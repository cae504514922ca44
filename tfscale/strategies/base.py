"""The strategy seam: a strategy touches a step in exactly two places.

Gradients pass through it before the optimizer, parameters after. It owns every tensor that exists because replicas
learn together (residuals, thresholds), so those are saved and restored with it.

Both places are told the step number: warm-ups and ramps then need no counter of their own, and a resumed run is where
it was. A third one, `consensus`, changes nothing: it is what evaluation and checkpoints see between averagings.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import tensorflow as tf

from tfscale.collectives.base import Collective, mean_bytes
from tfscale.collectives.ordered import ordered_bytes, ordered_mean
from tfscale.vectors import Layout, counter, flatten, size, unflatten

Tensors = Sequence[tf.Tensor]
"""Of one replica, one a trainable variable."""


class Strategy(Protocol):
    """How the gradients and parameters of W replicas are combined.

    Attributes:
        collective: How replicas exchange tensors.
        exchanges_gradients: Whether replicas exchange something in every `reduce_gradients`.
        averages_optimizer: Whether optimizer slots belong to the synchronised vector [S].
        keeps_parameters_equal: Whether all replicas hold the same trainables after every step.
        keeps_optimizers_equal: Whether their optimizers are the same then, too.
        reports_after_averaging: Whether the loop measures the loss again once parameters were replaced.
        bytes_sent: [] int64 variable: bytes exchanged since the start, over all replicas (see `collectives.base`).
    """

    collective: Collective
    exchanges_gradients: bool
    averages_optimizer: bool
    keeps_parameters_equal: bool
    keeps_optimizers_equal: bool
    reports_after_averaging: bool
    bytes_sent: tf.Variable

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout) -> None:
        """Creates the variables that need D.

        Args:
            parameters: R x [S], the replicas' agreed start; its first D elements are the trainable ones.
            layout: Of those D.
        """
        ...

    def reduce_gradients(
        self, gradients: Sequence[Tensors], parameters: Sequence[Tensors], step: tf.Tensor
    ) -> list[list[tf.Tensor]]:
        """What each of this process's R replicas gives to its optimizer.

        Args:
            gradients: R lists, one gradient a trainable tensor.
            parameters: R lists of the trainable tensors that they were computed with: to be looked at.
            step: [] int64, optimizer steps completed before.
        """
        ...

    def parameters_due(self, step: int) -> bool:
        """Whether `reduce_parameters` replaces the parameters once `step` optimizer steps are completed."""
        ...

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> [S]: what every replica goes on with, after `step` ([] int64) completed steps."""
        ...

    def consensus(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [S] -> [S]: the one model that the replicas stand for now. Changes nothing."""
        ...

    def measurements(self) -> dict[str, tf.Tensor]:
        """Name -> scalar, about the last step."""
        ...

    def tensor_measurements(self) -> dict[str, tf.Tensor]:
        """Name -> [T], about the last step and each trainable tensor; empty if there is nothing to say."""
        ...

    def autotune(self, step: int) -> str | None:
        """Between two steps, `step` of them completed, on the host: may change how it goes on, and then says so.

        All processes call it after every step.
        """
        ...

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """What belongs to this process's replica number `index` and must survive with it."""
        ...

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """What all replicas share and must survive."""
        ...


class Averaging(tf.Module):
    """What strategies that average have in common: they add replicas' vectors, and count bytes.

    Args:
        collective: How replicas exchange tensors.
        reproducible: Whether they add in replica order (see `collectives.ordered`).
    """

    def __init__(self, *, collective: Collective, reproducible: bool = False) -> None:
        super().__init__()
        self.collective = collective
        self.bytes_sent = counter()
        self._reproducible = reproducible

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [D]; what it sends is counted."""
        replicas, elements = self.collective.size, size(vectors[:1])
        if self._reproducible:
            self.bytes_sent.assign_add(ordered_bytes(elements, replicas))
            return ordered_mean(self.collective, vectors)
        self.bytes_sent.assign_add(mean_bytes(elements, replicas))
        return self.collective.mean(vectors)

    def measurements(self) -> dict[str, tf.Tensor]:
        """Bytes so far."""
        return {"bytes_sent": self.bytes_sent.read_value()}

    def tensor_measurements(self) -> dict[str, tf.Tensor]:
        """Nothing."""
        return {}

    def autotune(self, step: int) -> str | None:
        """Nothing changes."""
        return None

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """Nothing."""
        return {}

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """The count of bytes."""
        return {"bytes_sent": self.bytes_sent}


def flattened(tensors: Sequence[Tensors], devices: Sequence[str]) -> list[tf.Tensor]:
    """R lists -> R vectors, each made on its replica's device."""
    vectors = []
    for each, device in zip(tensors, devices, strict=True):
        with tf.device(device):
            vectors.append(flatten(each))
    return vectors


def cut(vectors: Sequence[tf.Tensor], like: Sequence[Tensors], devices: Sequence[str]) -> list[list[tf.Tensor]]:
    """R vectors [D] -> R lists of tensors with the shapes of `like`: `flattened`'s inverse."""
    lists = []
    for vector, each, device in zip(vectors, like, devices, strict=True):
        with tf.device(device):
            lists.append(unflatten(vector, each))
    return lists


def agreed_parameters(collective: Collective, parameters: Sequence[tf.Tensor], trainable: int) -> tf.Tensor:
    """R x [S] -> [S] for strategies whose replicas hold equal trainables: those as they are, the statistics averaged.

    Batch-norm's moving statistics are not gradients: each replica has seen its own data. A mean of equal numbers need
    not be that number in float32, so the trainables are not averaged.
    """
    statistics = [vector[trainable:] for vector in parameters]
    if statistics[0].shape[0] == 0:
        return parameters[0]
    return tf.concat([parameters[0][:trainable], ordered_mean(collective, statistics)], axis=0)
