"""The strategy seam: a strategy touches a step in exactly two places.

Gradients pass through it before the optimizer, parameters after. It owns every tensor that exists because several
replicas learn together (residuals, thresholds), so those are saved and restored with it.

Both places get the step number, so that warm-ups and ramps need no counter of their own and a resumed run continues
where it was. `consensus` changes nothing: it is the model that evaluations and checkpoints see between averagings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import tensorflow as tf

from tfscale.collectives.base import Collective, mean_bytes
from tfscale.collectives.ordered import ordered_bytes, ordered_mean
from tfscale.collectives.traffic import Traffic
from tfscale.tracking.base import Measurements
from tfscale.vectors import Layout, counter, flatten, size, unflatten

Tensors = Sequence[tf.Tensor]
"""The tensors of one replica, one for each trainable variable."""

SKIPPED_STEPS = "skipped_steps"
"""Measurement of a strategy that skips steps with gradients that are not finite: equal in all processes."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description that a strategy gives of itself.

    Attributes:
        notes: Lines for the start of a run.
        measurements: How its measurements are shown, by their names.
    """

    notes: Sequence[str] = ()
    measurements: Measurements = field(default_factory=dict)


class Strategy(Protocol):
    """Combines the gradients and parameters of W replicas.

    Attributes:
        collective: Exchanges tensors between replicas.
        senders: Number of replicas, or of groups of them, that exchange tensors; W if there are no groups.
        exchanges_gradients: Whether every `reduce_gradients` exchanges tensors.
        averages_optimizer: Whether optimizer slots belong to the synchronised vector [S].
        keeps_parameters_equal: Whether all replicas hold the same trainables after every step.
        keeps_optimizers_equal: Whether all replicas hold the same optimizer slots then, too.
        reports_after_averaging: Whether the loop measures the loss again after parameters were replaced.
        is_reproducible: Whether its sums have the same bits on any number of processes.
        bytes_sent: [] int64 variable: bytes exchanged since the start, over all senders (see `collectives.base`).
    """

    collective: Collective
    senders: int
    exchanges_gradients: bool
    averages_optimizer: bool
    keeps_parameters_equal: bool
    keeps_optimizers_equal: bool
    reports_after_averaging: bool
    is_reproducible: bool
    bytes_sent: tf.Variable

    def build(self, parameters: Sequence[tf.Tensor], layout: Layout, learning_rate: Callable[[], tf.Tensor]) -> None:
        """Creates the variables that need D.

        Args:
            parameters: R x [S], the replicas' agreed start; its first D elements are the trainable ones.
            layout: Of those D.
            learning_rate: Returns that of the next step, [] float32, equal in all replicas.
        """
        ...

    def reduce_gradients(
        self, gradients: Sequence[Tensors], parameters: Sequence[Tensors], step: tf.Tensor
    ) -> list[list[tf.Tensor]]:
        """Returns the gradients that each of the R replicas of this process applies.

        Args:
            gradients: R lists, one gradient a trainable tensor.
            parameters: R lists of the trainable tensors that they were computed with; not modified.
            step: [] int64, optimizer steps completed before.
        """
        ...

    def parameters_due(self, step: int) -> bool:
        """Returns whether `reduce_parameters` replaces the parameters once `step` optimizer steps are completed."""
        ...

    def reduce_parameters(self, parameters: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """R x [S] -> [S] or [D]: the parameters that every replica continues with after `step` ([] int64) steps.

        With [D], the trainable ones, each replica keeps the rest of its own.
        """
        ...

    def consensus(self, parameters: Sequence[tf.Tensor], *, averaged: bool) -> tf.Tensor:
        """R x [S] -> [S]: the model that the replicas represent now; changes nothing.

        Args:
            parameters: R x [S].
            averaged: Whether they have averages of the weights in the weights' place.
        """
        ...

    def describe(self) -> Description:
        """Returns notes for the start of a run, and how `measurements` are shown; needs `build`."""
        ...

    def traffic(self) -> Sequence[Traffic]:
        """Returns what one replica exchanges again and again, for estimates; needs a step of training."""
        ...

    def measurements(self) -> dict[str, tf.Tensor]:
        """Returns name -> scalar of the last step."""
        ...

    def tensor_measurements(self) -> dict[str, tf.Tensor]:
        """Returns name -> [T], a value of the last step for each trainable tensor; may be empty."""
        ...

    def autotune(self, step: int) -> str | None:
        """Chooses between faster exchanges after `step` completed steps, on the host.

        All processes call it after every step.

        Returns:
            A sentence about what has changed; None if nothing has.
        """
        ...

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """Returns the variables to save with replica number `index` of this process."""
        ...

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """Returns the variables to save once for all replicas."""
        ...


class Chooser(Protocol):
    """Chooses among strategies at the start of a job, before one of them is built for training."""

    def seconds(self, train: Callable[[int], float], *, every: int) -> float:
        """Returns the seconds of a step; `train` trains a number of steps and returns the mean seconds of one.

        All processes must call it, and get the same.

        Args:
            train: Trains a multiple of `every` steps.
            every: Steps in a round, at whose end an exchange takes place.
        """
        ...

    def choice(self, seconds: Mapping[str, float]) -> str:
        """Returns the name of the strategy to train with, by the seconds of a step of each."""
        ...


class Averaging(tf.Module):
    """The common part of strategies that average: means of vectors, and a count of bytes.

    Args:
        collective: Exchanges tensors between replicas.
        reproducible: Whether vectors are added in replica order (see `collectives.ordered`).
    """

    def __init__(self, *, collective: Collective, reproducible: bool = False) -> None:
        super().__init__()
        self.collective = collective
        self.senders = collective.size
        self.bytes_sent = counter()
        self.is_reproducible = reproducible

    def describe(self) -> Description:
        """Returns nothing beyond what every run shows."""
        return Description()

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [D]; counts the bytes that it sends."""
        replicas, elements = self.collective.size, size(vectors[:1])
        if self.is_reproducible:
            self.bytes_sent.assign_add(ordered_bytes(elements, replicas))
            return ordered_mean(self.collective, vectors)
        self.bytes_sent.assign_add(mean_bytes(elements, replicas))
        return self.collective.mean(vectors)

    def mean_traffic(self, elements: int, every: int = 1) -> Traffic:
        """Returns that of `mean` with vectors of so many elements, once in `every` steps."""
        if self.is_reproducible:
            return Traffic(kind="gather", words=elements + 1, every=every)  # a checksum travels with it
        return Traffic(kind="mean", words=elements, every=every)

    def measurements(self) -> dict[str, tf.Tensor]:
        """Returns the bytes exchanged since the start."""
        return {"bytes_sent": self.bytes_sent.read_value()}

    def tensor_measurements(self) -> dict[str, tf.Tensor]:
        """Returns nothing."""
        return {}

    def autotune(self, step: int) -> str | None:
        """Changes nothing."""
        return None

    def replica_state(self, index: int) -> Mapping[str, tf.Variable]:
        """Returns nothing."""
        return {}

    def shared_state(self) -> Mapping[str, tf.Variable]:
        """Returns the count of bytes."""
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
    """R x [S] -> [S] for replicas with equal trainables: those unchanged, the statistics averaged.

    Each replica has seen its own data, so moving statistics of batch normalization differ. In float32 the mean of equal
    numbers need not be that number, so trainables are not averaged.
    """
    statistics = [vector[trainable:] for vector in parameters]
    if statistics[0].shape[0] == 0:
        return parameters[0]
    return tf.concat([parameters[0][:trainable], ordered_mean(collective, statistics)], axis=0)
