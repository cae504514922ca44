"""Whether compression pays on this link: measured once, decided alike in all processes.

Compression loses where links are fast and models small (Agarwal et al. 2022 found it to win in 6 of more than 200 data
centre set-ups), so it is held against what it replaces: an allreduce of D floats, estimated from small ones, whose
bytes are few.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import final

import tensorflow as tf

from tfscale.collectives.base import Collective, mean_bytes

EVERY = 100
"""Steps between two looks at whether it can be decided."""

STEERED = 50
"""It is decided once so many compressed steps have been taken: first steps trace, and thresholds still move."""

REPEATS = 4
"""Of each measurement; the first one traces."""
SHARE = 64
"""The probe has D / SHARE elements, at least SMALLEST."""

SMALLEST = 4096


@final
class Autotune:
    """One measurement of a collective.

    Args:
        collective: Whose means are measured.
        size: D.
    """

    def __init__(self, collective: Collective, size: int) -> None:
        self._collective, self._size = collective, size
        self._probe = min(size, max(SMALLEST, size // SHARE))
        self.bytes = REPEATS * (mean_bytes(self._probe, collective.size) + mean_bytes(1, collective.size))

    def __call__(self, seconds: float) -> tuple[bool, str] | None:
        """Compares what compression takes with an allreduce. All processes must call it.

        Args:
            seconds: What encoding, exchanging and decoding take of a step in this process.

        Returns:
            Whether an allreduce is faster, the same in every process; and the figures. None if a process has not
            measured compression since it started.
        """
        ours, dense = self._slowest([seconds, self._dense_seconds()])
        if not math.isfinite(ours):
            return None
        words = (
            f"compression takes {1e3 * ours:.2f} ms of a step, an allreduce of {self._size:,} floats about "
            f"{1e3 * dense:.2f} ms (from {self._probe:,} and 1 of them)"
        )
        return dense < ours, words

    def _dense_seconds(self) -> float:
        means = [self._mean_function(length) for length in (1, self._probe)]
        latency, probe = (min(self._seconds(mean) for _ in range(REPEATS)) for mean in means)
        return latency + max(probe - latency, 0.0) * self._size / self._probe

    def _mean_function(self, length: int) -> Callable[[], tf.Tensor]:
        """A mean of zeros, compiled: as a step would have it."""

        def mean() -> tf.Tensor:
            return self._collective.mean([tf.zeros([length]) for _ in self._collective.ranks])

        return tf.function(mean, autograph=False)

    def _seconds(self, mean: Callable[[], tf.Tensor]) -> float:
        began = time.perf_counter()
        mean().numpy()
        return time.perf_counter() - began

    def _slowest(self, figures: Sequence[float]) -> list[float]:
        """The largest of each figure over all processes."""
        words = tf.bitcast(tf.constant(figures, tf.float32), tf.int32)
        gathered = self._collective.gather([words for _ in self._collective.ranks])
        return tf.reduce_max(tf.bitcast(tf.stack(gathered), tf.float32), axis=0).numpy().tolist()
