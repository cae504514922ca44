"""Error feedback: what one replica has not sent yet. It belongs to the replica and moves with it."""

from collections.abc import Mapping, Sequence
from typing import final

import tensorflow as tf

from tfscale.compression.backends.base import Contribution, Spec
from tfscale.vectors import counter


@final
class ErrorFeedback(tf.Module):
    """A replica's residual [D] and, with momentum, its velocity [D]: float32 zeros on its device.

    Args:
        device: Device of the replica.
        size: D.
        momentum: Create a velocity.
        decays: Whether residuals decay: create a sum of what is lost.
        delayed: Create a place for the message [M] that travels in the next round.
        rounds: Whether the replica takes several steps alone: create a counter of those that it skips.
    """

    def __init__(self, device: str, size: int, *, momentum: bool, decays: bool, delayed: bool, rounds: bool) -> None:
        super().__init__()
        self.device = device
        with tf.device(device):
            self.residual = tf.Variable(tf.zeros([size]), trainable=False)
            self.velocity = tf.Variable(tf.zeros([size]), trainable=False) if momentum else None
            self.clipped = tf.Variable(tf.constant(0.0), trainable=False)
            self.decayed = tf.Variable(tf.constant(0.0), trainable=False) if decays else None
            self._usable = tf.Variable(tf.constant(True), trainable=False)
        with tf.device("CPU:0"):
            empty = tf.zeros([0], tf.int32)
            self.pending = tf.Variable(empty, trainable=False, shape=[None]) if delayed else None
            self._skipped = counter() if rounds else None

    def keep_usable(self, gradient: Sequence[tf.Tensor], usable: tf.Tensor) -> list[tf.Tensor]:
        """Returns the gradient's tensors, or zeros if they are not usable, which `mark_usable` then reports.

        An optimizer that has once seen a NaN keeps it in its slots for ever.
        """
        with tf.device(self.device):
            self._usable.assign(usable)
            if self._skipped is not None:
                self._skipped.assign_add(tf.cast(~usable, tf.int64))
            return list(tf.cond(usable, lambda: list(gradient), lambda: [tf.zeros_like(each) for each in gradient]))

    def take_skipped(self) -> tf.Tensor:
        """Returns the number of steps that this replica has skipped alone since the last call, [] int64."""
        if self._skipped is None:
            return tf.constant(0, tf.int64)
        taken = self._skipped.read_value()
        with tf.control_dependencies([taken]):
            self._skipped.assign(0)
        return taken

    def decay(self, factor: float) -> None:
        """Multiplies the residual by a factor; adds the l1 norm of what is lost to `decayed`. Does nothing without."""
        if self.decayed is not None:
            self.decayed.assign_add((1 - factor) * tf.reduce_sum(tf.abs(self.residual)))
            self.residual.assign(factor * self.residual)

    def mark_usable(self, update: Contribution) -> Contribution:
        """Returns the update, usable only if the gradient that it was made of was."""
        return Contribution(update.vector, update.usable & self._usable.read_value())

    def with_momentum(self, contribution: tf.Tensor, spec: Spec) -> tuple[tf.Tensor | None, tf.Tensor]:
        """Applies momentum to a contribution [D], without storing the velocity.

        Returns:
            The new velocity [D], None without momentum; and the contribution [D] with momentum.
        """
        if self.velocity is None:
            return None, contribution
        moved = spec.momentum * self.velocity + contribution
        return moved, (contribution + spec.momentum * moved if spec.nesterov else moved)

    def keep_velocity(self, velocity: tf.Tensor | None) -> None:
        """Stores the velocity [D]; nothing without momentum."""
        if self.velocity is not None and velocity is not None:
            self.velocity.assign(velocity)

    def clip(self, bound: tf.Tensor) -> tf.Tensor:
        """Clips the residual to +-bound, [] or [D]; adds the l1 norm of what is lost to `clipped`."""
        left = tf.clip_by_value(self.residual, -bound, bound)
        self.clipped.assign_add(tf.reduce_sum(tf.abs(self.residual - left)))
        return self.residual.assign(left)

    def pending_message(self) -> tf.Tensor:
        """The message [M] of the last step.

        Raises:
            ValueError: The exchange is not delayed.
        """
        return self._pending().read_value()

    def keep_pending(self, message: tf.Tensor) -> None:
        """Stores a message [M] for the next step.

        Raises:
            ValueError: The exchange is not delayed.
        """
        self._pending().assign(message)

    def _pending(self) -> tf.Variable:
        if self.pending is None:
            raise ValueError("no message is pending without a delay")
        return self.pending

    def own(self) -> Mapping[str, tf.Variable]:
        """The replica's variables, by their names in checkpoints."""
        variables = {
            "residual": self.residual,
            "velocity": self.velocity,
            "pending": self.pending,
            "clipped": self.clipped,
            "decayed": self.decayed,
            "skipped": self._skipped,
        }
        return {name: variable for name, variable in variables.items() if variable is not None}
