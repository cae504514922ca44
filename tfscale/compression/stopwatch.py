"""Durations of the stages of an exchange, measured inside the compiled step."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import tensorflow as tf

from tfscale.devices import visible_gpus
from tfscale.kernels import library

T = TypeVar("T")


def _clock() -> Callable[[], tf.Tensor] | None:
    """The clock operation: the kernels', or TensorFlow's, which op determinism forbids; None if there is none."""
    native = library.load()
    if native is not None:
        return native.tfscale_clock
    try:
        tf.timestamp()
    except tf.errors.FailedPreconditionError:
        return None
    return tf.timestamp


def _computed(values: Any) -> list[Any]:
    """Returns what has to be waited for until tensors are computed.

    A GPU runs behind: an operation on it is over, for others, once it is enqueued. A copy of one element to the host
    comes when the tensor is there. TensorFlow may place what has no device on a GPU.
    """
    gpus = visible_gpus() > 0
    return [
        _copied(each) if "GPU" in each.device or (gpus and "CPU" not in each.device) else each
        for each in tf.nest.flatten(values)
    ]


def _copied(tensor: tf.Tensor) -> tf.Tensor:
    with tf.device(tensor.device):
        element = tf.reshape(tensor, [-1])[:1]
    with tf.device("CPU:0"):
        return tf.identity(element)


@final
class Stopwatch(tf.Module):
    """Seconds of each stage at the last step; measures nothing without a clock.

    Args:
        stages: Names of the stages.
    """

    def __init__(self, *stages: str) -> None:
        super().__init__()
        self._clock = _clock()
        self._seconds, self._least = (
            {stage: tf.Variable(tf.constant(start, tf.float64), trainable=False) for stage in stages}
            for start in (0.0, float("inf"))
        )

    def time(
        self, stage: str, after: Sequence[Any], work: Callable[[], T], *, begins: bool = True, ends: bool = True
    ) -> T:
        """Returns work()'s tensors; measures from the moment that `after` is computed until they are.

        Args:
            stage: Its name.
            after: Tensors.
            work: Is called once.
            begins: Whether the stage begins here; if not, the duration is added to that of its beginning.
            ends: Whether this is all of the stage.
        """
        if self._clock is None:
            return work()
        with tf.control_dependencies(_computed(after)):
            began = self._clock()
        with tf.control_dependencies([began]):
            result = work()
        with tf.control_dependencies(_computed(result)):
            passed, total = self._clock() - began, self._seconds[stage]
            seconds = (total.assign(passed) if begins else total.assign_add(passed)).read_value()
            if ends:
                self._least[stage].assign(tf.minimum(self._least[stage], seconds))
        return result

    @property
    def works(self) -> bool:
        """True if there is a clock."""
        return self._clock is not None

    def least_seconds(self) -> float:
        """Sum of the shortest durations of all stages; infinite until each was measured."""
        return sum(float(least) for least in self._least.values())

    def milliseconds(self) -> dict[str, tf.Tensor]:
        """Duration of each stage at the last step, by `<stage>_ms`."""
        if self._clock is None:
            return {}
        return {f"{stage}_ms": 1e3 * seconds.read_value() for stage, seconds in self._seconds.items()}
