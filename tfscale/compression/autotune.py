"""Autotune: measures once whether compression is faster than an allreduce on this link.

Compression loses on fast links with small models (Agarwal et al. 2022 found it to win in 6 of more than 200 data centre
set-ups), so its duration is compared with that of an allreduce of D floats, which is estimated from small ones to keep
the traffic low. All processes decide alike.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import Collective, mean_bytes

EVERY = 100
"""Steps between two attempts to decide."""

STEERED = 50
"""Compressed steps before a decision: the first ones trace, and thresholds still move."""

REPEATS = 4
"""Repetitions of each measurement; the first one traces."""

SHARE = 64
"""The small allreduce has D / SHARE elements, at least SMALLEST, at most D."""

SMALLEST = 4096


@final
class Autotune:
    """Comparison of compression with an allreduce.

    Args:
        collective: Collective whose mean is measured.
        size: D.
    """

    def __init__(self, collective: Collective, size: int) -> None:
        self._collective, self._size = collective, size
        self._probe = min(size, max(SMALLEST, size // SHARE))
        self.bytes = REPEATS * (mean_bytes(self._probe, collective.size) + mean_bytes(1, collective.size))

    def __call__(self, seconds: float) -> tuple[bool, str] | None:
        """Compares compression with an allreduce. All processes must call it.

        Args:
            seconds: Duration of all stages of a step in this process.

        Returns:
            True if an allreduce is faster, the same in every process; and the figures as text. None if a process has
            not measured compression since it started.
        """
        ours, dense = self._slowest([seconds, self._dense_seconds()])
        if not math.isfinite(ours):
            return None
        figures = (
            f"compression takes {1e3 * ours:.2f} ms of a step, an allreduce of {self._size:,} floats about "
            f"{1e3 * dense:.2f} ms (from {self._probe:,} and 1 of them)"
        )
        return dense < ours, figures

    def _dense_seconds(self) -> float:
        means = [self._mean_function(length) for length in (1, self._probe)]
        latency, probe = (min(self._seconds(mean) for _ in range(REPEATS)) for mean in means)
        return latency + max(probe - latency, 0.0) * self._size / self._probe

    def _mean_function(self, length: int) -> Callable[[], tf.Tensor]:
        """A compiled mean of zeros, as in a step."""

        def mean() -> tf.Tensor:
            return self._collective.mean([tf.zeros([length]) for _ in self._collective.ranks])

        return tf.function(mean, autograph=False)

    def _seconds(self, mean: Callable[[], tf.Tensor]) -> float:
        began = time.perf_counter()
        mean().numpy()
        return time.perf_counter() - began

    def _slowest(self, figures: Sequence[float]) -> list[float]:
        """The largest value of each figure over all processes."""
        bits = tf.bitcast(tf.constant(figures, tf.float32), tf.int32)
        gathered = self._collective.gather([bits for _ in self._collective.ranks])
        return tf.reduce_max(tf.bitcast(tf.stack(gathered), tf.float32), axis=0).numpy().tolist()
