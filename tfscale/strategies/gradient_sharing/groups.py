"""Groups of replicas that share as one: a group averages its gradients at every step, and groups exchange messages.

A group lives in one process, so its mean is arithmetic between devices. Its replicas apply the same gradients, so they
hold equal parameters, like one replica with the batch of all; each has statistics of its own. W replicas in groups of G
send W / G messages.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar, final

import tensorflow as tf

from tfscale.collectives import consistency
from tfscale.collectives.base import Collective, added
from tfscale.digest import Digest
from tfscale.errors import UserError

Value = TypeVar("Value")


@final
class Groups:
    """The groups of this process.

    Args:
        collective: Of all replicas.
        size: G, replicas in a group.

    Raises:
        UserError: A group would be in two processes, or there is only one.
    """

    def __init__(self, collective: Collective, size: int) -> None:
        self._size, self._ranks = size, collective.ranks
        if 1 < size == collective.size:
            raise UserError(
                f"strategy.group={size} makes one group of all replicas, which has nobody to share with; use "
                "strategy=horovod"
            )
        if collective.size % size or collective.ranks[0] % size or len(collective.ranks) % size:
            raise UserError(
                f"strategy.group={size} needs a multiple of {size} replicas in every process, got "
                f"{len(collective.ranks)} of {collective.size}; set strategy.replicas to a multiple of {size} times "
                "the number of processes, or launch.np"
            )
        self.collective = collective if size == 1 else collective.of(collective.size // size)
        """Of the groups; a group counts as a replica there."""

    @property
    def notes(self) -> Sequence[str]:
        """Returns a line for the start of a run; none if a group is a replica."""
        if self._size == 1:
            return []
        return [f"{self.collective.size} groups of {self._size} replicas average their gradients and share as one each"]

    def first(self, values: Sequence[Value]) -> Sequence[Value]:
        """Returns one value a group from one a replica, that of its first replica."""
        return values[:: self._size]

    def of_each(self, values: Sequence[Value]) -> Sequence[Value]:
        """Returns one value a replica from one a group."""
        return [value for value in values for _ in range(self._size)]

    def means(self, vectors: Sequence[tf.Tensor], devices: Sequence[str]) -> Sequence[tf.Tensor]:
        """Returns the mean of each group, on the device of its first replica.

        Args:
            vectors: R tensors of one shape, one a replica.
            devices: R device names.
        """
        if self._size == 1:
            return vectors
        means = []
        for start, device in zip(range(0, len(vectors), self._size), self.first(devices), strict=True):
            with tf.device(device):
                means.append(added(vectors[start : start + self._size]) / self._size)
        return means

    def tensors(self, lists: Sequence[Sequence[tf.Tensor]], devices: Sequence[str]) -> Sequence[Sequence[tf.Tensor]]:
        """Returns the mean of each group, tensor by tensor, on the device of its first replica.

        Args:
            lists: R lists of tensors.
            devices: R device names.
        """
        if self._size == 1:
            return lists
        of_tensors = [self.means(tensors, devices) for tensors in zip(*lists, strict=True)]
        return list(zip(*of_tensors, strict=True))

    def parameters(self, vectors: Sequence[tf.Tensor], devices: Sequence[str], trainable: int) -> Sequence[tf.Tensor]:
        """Returns the parameters of each group: trainables of its first replica, statistics of all.

        Args:
            vectors: R x [S].
            devices: R device names.
            trainable: D.
        """
        if self._size == 1:
            return vectors
        statistics = self.means([vector[trainable:] for vector in vectors], devices)
        own = [vector[:trainable] for vector in self.first(vectors)]
        return [tf.concat(parts, axis=0) for parts in zip(own, statistics, strict=True)]

    def require_equal(
        self, digest: Digest, parameters: Sequence[Sequence[tf.Tensor]], step: tf.Tensor
    ) -> Sequence[tf.Tensor]:
        """Returns operations that fail if a replica's parameters are not those of its group.

        Args:
            digest: Of one replica's tensors.
            parameters: R lists of tensors.
            step: [] int64, for the message.

        Raises:
            tf.errors.InvalidArgumentError: The same, outside of a graph.
        """
        if self._size == 1:
            return []
        digests = tf.stack([digest(own) for own in parameters])
        starts = range(0, len(parameters), self._size)
        checks = [
            consistency.require_consistent(digests[at : at + self._size], step, first_rank=self._ranks[at])
            for at in starts
        ]
        return [check for check in checks if check is not None]

    def variables(self, of_groups: Sequence[Mapping[str, tf.Variable]], index: int) -> Mapping[str, tf.Variable]:
        """Returns the variables to save with replica number `index` of this process: none unless it is a group's first.

        Args:
            of_groups: Of each group of this process.
            index: Of the replica.
        """
        return of_groups[index // self._size] if index % self._size == 0 else {}
