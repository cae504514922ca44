"""Reads messages in TensorFlow operations, for the reference backend."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple, final

import tensorflow as tf

from tfscale import vectors
from tfscale.compression import message as framing
from tfscale.compression.backends.base import Spec
from tfscale.compression.codecs import base as codec
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.word32 import Word32
from tfscale.digest import majority

CODES = (Word32(), Bitmap(), Rice())
"""All codes, in the order of their numbers, which begin at 1."""


class PartSums(NamedTuple):
    """The content of the sums of all parts; see `base.Sums`.

    Attributes:
        elements: [n] int64, as in `codecs.base`.
        counts: [T] int64.
        words: [] int64.
    """

    elements: tf.Tensor
    counts: tf.Tensor
    words: tf.Tensor


@final
class Reading:
    """Reads the messages of an exchange.

    Args:
        spec: Settings of the exchange.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._ends = list(itertools.accumulate(spec.layout.sizes))

    def verified(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> list[tf.Tensor]:
        """Returns W messages by rank once all are intact and of this step; see `message.verify`."""
        frame = framing.Frame(
            header=header,
            digest=_majority_digest(messages),
            size=self._spec.layout.size * self._spec.levels,
            dense_values=self._spec.dense_size,
            proposals=tf.where(thresholds[0] > 0, 0, tf.size(thresholds)),
        )
        return [framing.verify(message, rank, frame) for rank, message in enumerate(messages)]

    def elements(self, message: tf.Tensor) -> tf.Tensor:
        """A verified message [M] -> its sparse elements [n] int64, as in `codecs.base`; none for a skip or proposal."""
        return self._listed(message, self._spec.dense_size, self._spec.levels)

    def of_sparse_tensors(self, elements: tf.Tensor) -> tf.Tensor:
        """Returns elements [n] int64 without those of dense tensors."""
        if not self._spec.dense_size:
            return elements
        sparse = tf.constant([not dense for dense in self._spec.dense])
        return tf.boolean_mask(elements, tf.gather(sparse, self.owners(elements)))

    def owners(self, elements: tf.Tensor) -> tf.Tensor:
        """Sparse elements [n] -> the number of the tensor that each belongs to, [n]."""
        return tf.searchsorted(tf.constant(self._ends, tf.int64), elements // 2, side="right")

    def dense_sums(self, messages: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the sums [F] of the dense values of verified messages, by rank: the same bits everywhere."""
        size = self._spec.dense_size
        if not size:
            return tf.zeros([0])
        total = tf.bitcast(messages[0][-size:], tf.float32)
        for message in messages[1:]:
            total = vectors.prevent_reassociation(total + tf.bitcast(message[-size:], tf.float32))
        return total

    def require_part(self, elements: tf.Tensor, part: int, rank: int) -> None:
        """Refuses a list [n] of a rank that has elements outside of a part.

        Raises:
            tf.errors.InvalidArgumentError: It has.
        """
        begin, end = self._spec.part(part)
        inside = tf.reduce_all((elements // 2 >= begin) & (elements // 2 < end))
        tf.debugging.Assert(inside, [f"tfscale: the message of rank {rank} is damaged: elements of another part"])

    def sums(self, messages: Sequence[tf.Tensor], header: tf.Tensor) -> PartSums:
        """Verifies and reads the sums of all parts; see `base.Backend.read_sums`."""
        digest, levels = _majority_digest(messages), self._spec.levels * self._spec.parts
        counts, words = tf.zeros([len(self._ends)], tf.int64), tf.constant(0, tf.int64)
        lists = []
        for part, message in enumerate(messages):
            (begin, end), tensors = self._spec.part(part), self._spec.tensors_of_part(part)
            tail = 2 * (1 + len(tensors))
            most = levels * (end - begin)
            frame = framing.Frame(header=header, digest=digest, size=most, dense_values=tail, proposals=tf.constant(0))
            verified = framing.verify(message, part, frame)
            numbers = tf.bitcast(tf.reshape(verified[tf.size(verified) - tail :], [-1, 2]), tf.int64)
            words += numbers[0]
            counts += tf.pad(numbers[1:], [[tensors.start, len(self._ends) - tensors.stop]])
            lists.append(self._listed(verified, tail, levels))
            self.require_part(lists[-1], part, part)
        return PartSums(tf.concat(lists, axis=0), counts, words)

    def _listed(self, message: tf.Tensor, tail: int, levels: int) -> tf.Tensor:
        """The elements of a verified message whose last `tail` words do not belong to its payload."""
        size = self._spec.layout.size
        payload = message[framing.HEADER : tf.size(message) - tail]
        count = codec.from_int32(message[framing.COUNT : framing.COUNT + 1])[0]

        def nothing() -> tf.Tensor:
            return tf.zeros([0], tf.int64)

        def unknown() -> tf.Tensor:
            tf.debugging.Assert(False, ["tfscale: a message in an unknown format", framing.format_of(message)])
            return nothing()

        branches = {code.number: lambda code=code: code.decode(payload, count, size, levels) for code in CODES}
        branches |= {framing.SKIP: nothing, framing.PROPOSAL: nothing}
        return tf.switch_case(framing.format_of(message), branches, default=unknown)


def _majority_digest(messages: Sequence[tf.Tensor]) -> tf.Tensor:
    padding = tf.zeros([framing.HEADER], tf.int32)
    return majority(tf.stack([tf.concat([message, padding], axis=0)[framing.DIGEST] for message in messages]))
