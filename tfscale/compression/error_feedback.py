"""What one replica remembers between exchanges: it belongs to the replica and moves with it."""

from collections.abc import Mapping
from typing import final

import tensorflow as tf

from tfscale.compression.backends.base import Contribution, Spec


@final
class ErrorFeedback(tf.Module):
    """A replica's residual [D] and, with momentum, its velocity [D]: float32 zeros on its device.

    Args:
        device: Where the replica computes.
        size: D.
        momentum: Whether there is a velocity.
        pending: With a delayed exchange, the message [M] that stands for nothing sent yet; else None.
    """

    def __init__(self, device: str, size: int, momentum: bool, pending: tf.Tensor | None) -> None:
        super().__init__()
        self.device = device
        with tf.device(device):
            self.residual = tf.Variable(tf.zeros([size]), trainable=False)
            self.velocity = tf.Variable(tf.zeros([size]), trainable=False) if momentum else None
            self.clipped = tf.Variable(tf.constant(0.0), trainable=False)
            self._usable = tf.Variable(tf.constant(True), trainable=False)
        with tf.device("CPU:0"):
            self.pending = None if pending is None else tf.Variable(pending, trainable=False, shape=[None])

    def keep_usable(self, gradient: Contribution) -> tf.Tensor:
        """The gradient [D], or zeros if it is not sound, which `marked` then tells of.

        An optimizer that has once seen a NaN keeps it in its slots for ever.
        """
        with tf.device(self.device):
            self._usable.assign(gradient.usable)
            return tf.where(gradient.usable, gradient.vector, 0.0)

    def mark_usable(self, update: Contribution) -> Contribution:
        """The update, sound only if the gradient that it was made of was."""
        return Contribution(update.vector, update.usable & self._usable.read_value())

    def moving(self, contribution: tf.Tensor, spec: Spec) -> tuple[tf.Tensor | None, tf.Tensor]:
        """[D] -> the velocity [D] it would make, where there is one, and what it contributes with it [D]."""
        if self.velocity is None:
            return None, contribution
        moved = spec.momentum * self.velocity + contribution
        return moved, (contribution + spec.momentum * moved if spec.nesterov else moved)

    def keep_velocity(self, velocity: tf.Tensor | None) -> None:
        """Stores the velocity [D], where there is one."""
        if self.velocity is not None and velocity is not None:
            self.velocity.assign(velocity)

    def pending_message(self) -> tf.Tensor:
        """The message [M] that waits for the next exchange.

        Raises:
            ValueError: The exchange is not delayed.
        """
        if self.pending is None:
            raise ValueError("nothing is pending without a delay")
        return self.pending.read_value()

    def keep_pending(self, message: tf.Tensor) -> None:
        """Leaves a message [M] to the next exchange; needs what `pending_message` does."""
        if self.pending is None:
            raise ValueError("nothing is pending without a delay")
        self.pending.assign(message)

    def state(self) -> Mapping[str, tf.Variable]:
        """What must survive."""
        own = {
            "residual": self.residual,
            "velocity": self.velocity,
            "pending": self.pending,
            "clipped": self.clipped,
        }
        return {name: variable for name, variable in own.items() if variable is not None}
