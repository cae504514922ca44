"""What one replica remembers between exchanges: it belongs to the replica and moves with it."""

from collections.abc import Mapping
from typing import final

import tensorflow as tf


@final
class ReplicaMemory(tf.Module):
    """A replica's residual [D] and, with momentum, its velocity [D]: float32 zeros on its device.

    Args:
        device: Where the replica computes.
        size: D.
        momentum: Whether there is a velocity.
    """

    def __init__(self, device: str, size: int, momentum: bool) -> None:
        super().__init__()
        self.device = device
        with tf.device(device):
            self.residual = tf.Variable(tf.zeros([size]), trainable=False)
            self.velocity = tf.Variable(tf.zeros([size]), trainable=False) if momentum else None
            self._sound = tf.Variable(tf.constant(True), trainable=False)

    def sound_gradient(self, gradient: tf.Tensor) -> tf.Tensor:
        """The gradient [D], or zeros if it is not finite, which `marked` then tells of.

        An optimizer that has once seen a NaN keeps it in its slots for ever.
        """
        with tf.device(self.device):
            self._sound.assign(tf.reduce_all(tf.math.is_finite(gradient)))
            return tf.where(self._sound, gradient, 0.0)

    def marked(self, update: tf.Tensor) -> tf.Tensor:
        """The update [D] of a sound gradient; NaN for that of another, so that the exchange skips it."""
        with tf.device(self.device):
            return tf.where(self._sound, update, float("nan"))

    def keep_velocity(self, velocity: tf.Tensor) -> None:
        """Stores the velocity [D], where there is one."""
        if self.velocity is not None:
            self.velocity.assign(velocity)

    def state(self) -> Mapping[str, tf.Variable]:
        """What must survive."""
        if self.velocity is None:
            return {"residual": self.residual}
        return {"residual": self.residual, "velocity": self.velocity}
