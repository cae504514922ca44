"""Averaging with short numbers: each replica sends the change of its parameters as int8 or float16.

    wanted_r = parameters_r - agreed + residual_r
    message_r = wanted_r / unit, in int8 rounded to the nearest, in float16 as it is
    mean = agreed + unit * sum of messages / W
    residual_r = wanted_r - unit * message_r

What a message does not hold waits in the residual, so nothing is lost. Each block of elements has a unit, from the
largest change of all replicas, chosen so that the sum of W messages fits the type: an ordinary allreduce adds it,
without a longer type on the way. Sums of int8 are exact, so their bits depend on no order; halves are rounded by the
transport as it adds.

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

BLOCK = 1024
"""Elements that share a unit."""

FEWEST_LEVELS = 3
"""Fewest values of each sign that an int8 message may have."""


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
        "int8": Kind(dtype=tf.int8, largest=127, is_whole=True),
        "float16": Kind(dtype=tf.float16, largest=2**14, is_whole=False),
    }
)
"""Value of `strategy.payload` -> type."""


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
                most = self._kind.largest // FEWEST_LEVELS
                raise UserError(
                    f"strategy.payload=int8 adds the messages of at most {most} replicas, got {collective.size}; "
                    "set strategy.payload=float16"
                )
        self._size = vectors.size(parameters[:1])
        self._blocks = -(-self._size // BLOCK)
        self._residuals: list[tf.Variable] = []
        for vector in parameters:
            with tf.device(vector.device):
                self._residuals.append(tf.Variable(tf.zeros_like(vector), trainable=False))

    def mean_change(self, parameters: Sequence[tf.Tensor], agreed: tf.Tensor) -> tf.Tensor:
        """Returns the mean change [D] over all W replicas; NaN, and residuals as they were, if one is not finite.

        Args:
            parameters: R x [D].
            agreed: [D], what all replicas continued with after the last exchange.
        """
        wanted = [each - agreed + residual for each, residual in zip(parameters, self._residuals, strict=True)]
        largest = self._agreed_largest(wanted)
        sound = tf.reduce_all(tf.math.is_finite(largest))
        unit = tf.where(sound, largest / self._limit, 0.0)
        spread = tf.repeat(unit, BLOCK)[: self._size]
        messages = [self._message(each, spread) for each in wanted]
        total = tf.cast(self._collective.total(messages), tf.float32)
        for residual, each, message in zip(self._residuals, wanted, messages, strict=True):
            waits = each - spread * tf.cast(message, tf.float32)
            residual.assign(tf.where(sound, waits, residual))
        return tf.where(sound, spread * total / self._collective.size, float("nan"))

    def _agreed_largest(self, wanted: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [blocks]: the largest magnitude in each block, over all W; NaN where one is not finite."""
        own = [self._largest(each) for each in wanted]
        gathered = gather_checksummed(self._collective, [tf.bitcast(each, tf.int32) for each in own])
        all_of_them = tf.ensure_shape(tf.bitcast(tf.stack(gathered), tf.float32), [self._collective.size, self._blocks])
        finite = tf.reduce_all(tf.math.is_finite(all_of_them), axis=0)
        return tf.where(finite, tf.reduce_max(all_of_them, axis=0), float("nan"))

    def _largest(self, wanted: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(tf.abs(wanted), [[0, self._blocks * BLOCK - self._size]])
        blocks = tf.reshape(padded, [self._blocks, BLOCK])
        finite = tf.reduce_all(tf.math.is_finite(blocks), axis=1)
        return tf.where(finite, tf.reduce_max(blocks, axis=1), float("nan"))

    def _message(self, wanted: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
        scaled = tf.math.divide_no_nan(wanted, spread)
        if self._kind.is_whole:
            scaled = tf.round(scaled)
        return tf.cast(tf.clip_by_value(scaled, -self._limit, self._limit), self._kind.dtype)

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
