"""The outer optimizer: a step of SGD with momentum on the change that an exchange makes to the agreed parameters.

    momentum' = mu * momentum + change
    result = plain + (lambda - 1) * change + lambda * mu * (momentum' if nesterov else momentum)

`plain` is what the exchange alone would give: the old parameters plus the change. The result is `old + lambda * u` with
the u of Keras's SGD. With lambda 1 and mu 0 it is `plain` bit for bit, which `old + lambda * change` is not: that
rounds differently in 5 % of float32 elements. Every process computes it from equal numbers; nothing is exchanged.

References:
    Douillard et al. 2023, "DiLoCo" (Nesterov, 0.7 and 0.9, after hundreds of steps of AdamW). Chen and Huo 2016, BMUF;
    Wang et al. 2020, SlowMo, whose best momentum grows with the number of replicas. Zhang et al. 2019, Lookahead: one
    replica and no momentum.
"""

from collections.abc import Mapping
from typing import Literal, final

import tensorflow as tf

MOMENTUM_FROM = ((16, 0.6), (8, 0.5), (4, 0.2))
"""Number of replicas from which on a momentum is best, and that momentum (SlowMo, fairscale); 0 below."""


@final
class OuterOptimizer(tf.Module):
    """SGD on the agreed parameters, at every exchange.

    Args:
        learning_rate: lambda, of a change that has the scale of parameters.
        momentum: mu, in [0, 1); `auto` follows from the number of replicas (see `MOMENTUM_FROM`).
        nesterov: Whether the momentum is Nesterov's.
    """

    def __init__(self, *, learning_rate: float, momentum: float | Literal["auto"], nesterov: bool) -> None:
        super().__init__()
        self._rate, self._momentum, self._nesterov = learning_rate, momentum, nesterov
        self._mu = 0.0
        self._velocity: tf.Variable | None = None

    def build(self, parameters: tf.Tensor, replicas: int) -> None:
        """Creates the momentum [D], zeros, on the device of the parameters [D]; none if mu is 0."""
        automatic = next((momentum for fewest, momentum in MOMENTUM_FROM if replicas >= fewest), 0.0)
        self._mu = automatic if self._momentum == "auto" else float(self._momentum)
        if self._mu:
            with tf.device(parameters.device):
                self._velocity = tf.Variable(tf.zeros_like(parameters), trainable=False)

    @property
    def is_active(self) -> bool:
        """Returns whether it changes anything; needs `build`."""
        return self._rate != 1.0 or self._mu > 0

    @property
    def note(self) -> str:
        """Returns a line for the start of a run; needs `build`."""
        kind = "Nesterov momentum" if self._nesterov else "momentum"
        return f"outer optimizer: learning rate {self._rate:g}, {kind} {self._mu:g}"

    def __call__(self, plain: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
        """Returns the parameters [D] after its step.

        Args:
            plain: [D] float32, the parameters that the exchange alone would give.
            change: [D] float32, what the exchange has changed.
        """
        result = plain if self._rate == 1.0 else plain + (self._rate - 1.0) * change
        if self._velocity is None:
            return result
        before = self._velocity.read_value()
        after = self._velocity.assign(self._mu * before + change)
        return result + (self._rate * self._mu) * (after if self._nesterov else before)

    def state(self) -> Mapping[str, tf.Variable]:
        """Returns the variables that are equal in all processes, by their names in checkpoints."""
        return {} if self._velocity is None else {"outer_momentum": self._velocity}
