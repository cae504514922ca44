"""The compressor's own state: all that an exchange remembers from step to step, in one object.

Optimizers and replicas keep nothing for the exchange, and neither do backends, codecs and threshold policies.
"""

from collections.abc import Mapping, Sequence
from typing import final

import tensorflow as tf

from tfscale.compression.backends.base import Spec
from tfscale.compression.error_feedback import ErrorFeedback
from tfscale.vectors import counter


@final
class CompressorState(tf.Module):
    """The variables of one exchange.

    Args:
        spec: Settings of the exchange.
        initial: First threshold; None if replicas propose it.
        per_tensor: One threshold a tensor.
        delayed: Keep each replica's message until the next round.
        decays: Whether residuals decay.
        rounds: Whether an exchange covers several optimizer steps.
        devices: Devices of this process's replicas.

    Attributes:
        thresholds: [1] or [T] float32; 0 while uninitialized.
        counts: [T] int64, elements sent of each tensor at the last step, over all replicas.
        peaks: [T] float32, largest |residual| of this process's replicas before the last sending.
        message_words, sum_words: [] float32, mean words that a replica sent at last; see `routes.Arrived`. Not saved.
        bytes_sent: [] int64, since the start, over all replicas.
        skipped_steps: [] int64, steps that all replicas skipped, and in rounds of several steps those that each
            skipped alone, added up.
        is_skipped: [] bool, all replicas skipped the last exchange; not saved.
        learning_rate: [] float32, of the optimizer when thresholds last followed it; 0 before. None for single steps.
        steered: [] int64, steps after which the policy moved the thresholds.
        autotuned: [] bool, the link was measured and autotune has decided.
        off: [] bool, autotune turned compression off.
        error_feedback: One for each replica of this process.
    """

    def __init__(
        self,
        *,
        spec: Spec,
        initial: float | None,
        per_tensor: bool,
        delayed: bool,
        decays: bool,
        rounds: bool,
        devices: Sequence[str],
    ) -> None:
        super().__init__()
        tensors = len(spec.layout.sizes)
        self.thresholds = tf.Variable(tf.fill([tensors if per_tensor else 1], initial or 0.0), trainable=False)
        self.counts = tf.Variable(tf.zeros([tensors], tf.int64), trainable=False)
        self.peaks = tf.Variable(tf.zeros([tensors]), trainable=False)
        self.message_words, self.sum_words = (tf.Variable(tf.constant(0.0), trainable=False) for _ in range(2))
        self.bytes_sent, self.skipped_steps, self.steered = counter(), counter(), counter()
        self.autotuned, self.off, self.is_skipped = (tf.Variable(tf.constant(False), trainable=False) for _ in range(3))
        self.learning_rate = tf.Variable(tf.constant(0.0), trainable=False) if rounds else None
        self.error_feedback = [
            ErrorFeedback(
                device,
                spec.layout.size,
                momentum=spec.momentum > 0,
                decays=decays,
                delayed=delayed,
                rounds=rounds,
            )
            for device in devices
        ]

    def is_uninitialized(self) -> tf.Tensor:
        """True until replicas have agreed on the first thresholds, [] bool."""
        return self.thresholds[0] <= 0

    def count_skips(self, skipped: tf.Tensor, alone: tf.Tensor | int = 0) -> None:
        """Counts an exchange that all replicas skip, and steps that replicas have skipped alone.

        Args:
            skipped: [] bool.
            alone: [] int64.
        """
        self.is_skipped.assign(skipped)
        self.skipped_steps.assign_add(tf.cast(skipped, tf.int64) + alone)

    def shared(self) -> Mapping[str, tf.Variable]:
        """The variables that are equal in all processes, by their names in checkpoints."""
        rate = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return {
            "thresholds": self.thresholds,
            "skipped_steps": self.skipped_steps,
            "steered": self.steered,
            "reviewed": self.autotuned,
            "bytes_sent": self.bytes_sent,
            "off": self.off,
            **rate,
        }
