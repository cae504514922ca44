"""How long the phases of a step take, measured inside the compiled step."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import tensorflow as tf

from tfscale.kernels import library

T = TypeVar("T")


def _clock() -> Callable[[], tf.Tensor] | None:
    """Seconds as an operation: ours, or TensorFlow's, which op determinism forbids; None if there is none."""
    native = library.load()
    if native is not None:
        return native.tfscale_clock
    try:
        tf.timestamp()
    except tf.errors.FailedPreconditionError:
        return None
    return tf.timestamp


@final
class Stopwatch(tf.Module):
    """The last step's seconds of each phase; measures nothing where there is no clock.

    Args:
        phases: Their names.
    """

    def __init__(self, *phases: str) -> None:
        super().__init__()
        self._clock = _clock()
        self._seconds, self._least = (
            {phase: tf.Variable(tf.constant(start, tf.float64), trainable=False) for phase in phases}
            for start in (0.0, float("inf"))
        )

    def time(self, phase: str, after: Sequence[Any], work: Callable[[], T]) -> T:
        """Returns work()'s tensors, and notes the time from when `after` is there to when they are."""
        if self._clock is None:
            return work()
        with tf.control_dependencies(tf.nest.flatten(after)):
            began = self._clock()
        with tf.control_dependencies([began]):
            result = work()
        with tf.control_dependencies(tf.nest.flatten(result)):
            seconds = self._seconds[phase].assign(self._clock() - began).read_value()
            self._least[phase].assign(tf.minimum(self._least[phase], seconds))
        return result

    @property
    def works(self) -> bool:
        """Whether there is a clock."""
        return self._clock is not None

    def least_seconds(self) -> float:
        """What all phases together took when each was at its fastest; infinite until all were measured."""
        return sum(float(least) for least in self._least.values())

    def milliseconds(self) -> dict[str, tf.Tensor]:
        """Phase_ms -> the last step's."""
        if self._clock is None:
            return {}
        return {f"{phase}_ms": 1e3 * seconds.read_value() for phase, seconds in self._seconds.items()}
