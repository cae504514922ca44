"""Averaging with quantized messages: each replica sends the change of its parameters as int8 or float16.

    wanted_r = parameters_r - agreed + residual_r
    message_r = wanted_r / unit, in int8 rounded to the nearest, in float16 as it is
    mean = agreed + unit * sum of messages / W
    residual_r = wanted_r - unit * message_r

The residual keeps what a message does not hold, so with int8 nothing is lost; with float16 the sum of halves is rounded
on the way, by a thousandth at most. Each block of elements has a unit, from the largest change of all replicas, chosen
so that the sum of W messages fits the type: an ordinary allreduce adds it, without a longer type on the way. Sums of
int8 are exact, so their bits depend on no order, and the sum of a replica's message travels beside it: a sum that was
damaged on the way is an error.

References:
    Seide et al. 2014 (error feedback); Douillard et al. 2023, "DiLoCo", and Jaghouar et al. 2024, "prime", whose
    averaging exchanges int8. Dettmers et al. 2022 (a unit for each block).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import tensorflow as tf

from tfscale import vectors
from tfscale.collectives.base import Collective, gather_bytes, mean_bytes
from tfscale.collectives.checksummed import gather_checksummed
from tfscale.collectives.traffic import Traffic
from tfscale.errors import UserError
from tfscale.strategies.parameter_averaging.settings import FEWEST_LEVELS, INT8, INT8_REPLICAS

BLOCK = 1024
"""Elements that share a unit."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of message.

    Attributes:
        dtype: Of its elements.
        largest: Largest value of a sum of messages.
        is_whole: Whether its elements are integers.
    """

    dtype: tf.DType
    largest: int
    is_whole: bool


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "int8": Kind(dtype=tf.int8, largest=INT8, is_whole=True),
        "float16": Kind(dtype=tf.float16, largest=2**14, is_whole=False),
    }
)
"""Value of `strategy.payload` -> type."""


@dataclass(frozen=True, kw_only=True)
class Exchanged:
    """The outcome of an exchange.

    Attributes:
        change: [D] float32, the mean change over all W replicas; NaN if that of one is not finite.
        own_sums: R x [] int32, the sum of each message of this process; None unless its elements are integers.
        total: [] int32, the sum of the elements that arrived.
    """

    change: tf.Tensor
    own_sums: Sequence[tf.Tensor] | None
    total: tf.Tensor

    def require_whole(self, sums: tf.Tensor) -> tf.Operation | None:
        """Fails if the sums [W] int32 of all messages do not add up to what arrived. None outside of a graph.

        Raises:
            tf.errors.InvalidArgumentError: They do not.
        """
        wrong = "tfscale: the message of rank 0 or another one is damaged: the sum of all is wrong"
        return tf.debugging.Assert(tf.equal(tf.reduce_sum(sums), self.total), [wrong])


@final
class Payload(tf.Module):
    """The residuals of this process's replicas, and the mean of changes.

    Args:
        kind: A key of `KINDS`.
        collective: Exchanges messages.
        parameters: R x [D], equal.

    Raises:
        UserError: int8 cannot hold the sum of so many replicas.
    """

    def __init__(self, kind: str, collective: Collective, parameters: Sequence[tf.Tensor]) -> None:
        super().__init__()
        self._kind, self._collective = KINDS[kind], collective
        self._limit = self._kind.largest / collective.size
        if self._kind.is_whole:
            self._limit = float(self._kind.largest // collective.size)
            if self._limit < FEWEST_LEVELS:
                raise UserError(
                    f"strategy.payload=int8 adds the messages of at most {INT8_REPLICAS} replicas, got "
                    f"{collective.size}; set strategy.payload=float32"
                )
        self._devices = [vector.device for vector in parameters]
        self._size = vectors.size(parameters[:1])
        self._blocks = -(-self._size // BLOCK)
        self._residuals: list[tf.Variable] = []
        for vector in parameters:
            with tf.device(vector.device):
                self._residuals.append(tf.Variable(tf.zeros_like(vector), trainable=False))

    def __call__(self, parameters: Sequence[tf.Tensor], agreed: tf.Tensor) -> Exchanged:
        """Exchanges the changes of all W replicas; residuals stay as they were if one is not finite.

        Args:
            parameters: R x [D].
            agreed: [D], what all replicas continued with after the last exchange.
        """
        wanted, largest = [], []
        for each, residual, device in zip(parameters, self._residuals, self._devices, strict=True):
            with tf.device(device):
                wanted.append(each - agreed + residual)
                largest.append(self._largest(wanted[-1]))
        unit, finite = self._agreed_unit(largest)
        messages = []
        for each, residual, device in zip(wanted, self._residuals, self._devices, strict=True):
            with tf.device(device):
                messages.append(self._message(each, unit))
                waits = each - unit * tf.cast(messages[-1], tf.float32)
                residual.assign(tf.where(finite, waits, residual))
        total = self._collective.total(messages)
        mean = unit * tf.cast(total, tf.float32) / self._collective.size
        return Exchanged(
            change=tf.where(finite, mean, float("nan")),
            own_sums=[_sum(message) for message in messages] if self._kind.is_whole else None,
            total=_sum(total),
        )

    def _agreed_unit(self, largest: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """R x [blocks] -> the unit of each element [D], 0 if a change is not finite; and whether all are, [] bool."""
        gathered = gather_checksummed(self._collective, [tf.bitcast(each, tf.int32) for each in largest])
        of_all = tf.ensure_shape(tf.bitcast(tf.stack(gathered), tf.float32), [self._collective.size, self._blocks])
        finite = tf.reduce_all(tf.math.is_finite(of_all))
        unit = tf.where(finite, tf.reduce_max(of_all, axis=0) / self._limit, 0.0)
        return tf.repeat(unit, BLOCK)[: self._size], finite

    def _largest(self, wanted: tf.Tensor) -> tf.Tensor:
        """[D] -> [blocks], the largest magnitude in each block; NaN where one is not finite."""
        padded = tf.pad(tf.abs(wanted), [[0, self._blocks * BLOCK - self._size]])
        blocks = tf.reshape(padded, [self._blocks, BLOCK])
        finite = tf.reduce_all(tf.math.is_finite(blocks), axis=1)
        return tf.where(finite, tf.reduce_max(blocks, axis=1), float("nan"))

    def _message(self, wanted: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        scaled = tf.math.divide_no_nan(wanted, unit)
        if self._kind.is_whole:
            scaled = tf.round(scaled)
        return tf.cast(tf.clip_by_value(scaled, -self._limit, self._limit), self._kind.dtype)

    @property
    def note(self) -> str:
        """Returns a line for the start of a run."""
        return f"changes of the parameters travel as {self._kind.dtype.name}"

    def bytes_of_one(self) -> tf.Tensor:
        """Returns the bytes of one exchange, over all replicas."""
        replicas, element = self._collective.size, self._kind.dtype.size
        words = tf.constant((self._blocks + 1) * replicas)
        return gather_bytes(words, replicas) + mean_bytes(self._size, replicas, element=element)

    def traffic(self, every: int) -> Sequence[Traffic]:
        """Returns that of one exchange in `every` steps."""
        largest = Traffic(kind="gather", words=self._blocks + 1, every=every)  # a checksum travels with it
        return [largest, Traffic(kind="mean", words=self._size * self._kind.dtype.size / 4, every=every)]

    def state(self, index: int) -> Mapping[str, tf.Variable]:
        """Returns the residual of replica number `index` of this process."""
        return {"residual": self._residuals[index]}


def _sum(message: tf.Tensor) -> tf.Tensor:
    """[D] -> [] int32."""
    return tf.reduce_sum(tf.cast(message, tf.int32))
