"""The backend in TensorFlow operations: the reference for the kernels, and what runs on GPUs or without them."""

import itertools
from collections.abc import Sequence
from typing import final

import numpy as np
import tensorflow as tf

from tfscale import vectors
from tfscale.compression import message as framing
from tfscale.compression.backends.base import USABLE_LIMIT, Contribution, Decoded, SparseUpdate, Spec
from tfscale.compression.codecs import base as codec
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.word32 import Word32
from tfscale.digest import majority

CODES = (Word32(), Bitmap(), Rice())
"""All codes, in the order of their numbers, which begin at 1."""


@final
class Reference:
    """Backend for any device.

    Args:
        spec: Settings of the exchange.
    """

    name = "the reference backend (TensorFlow operations)"

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        starts = [0, *itertools.accumulate(spec.layout.sizes)]
        self._ranges = list(zip(starts, starts[1:], spec.dense, strict=False))

    def check(self, vector: tf.Tensor) -> Contribution:
        """See `base.Backend`."""
        return Contribution(vector, tf.reduce_all(tf.abs(vector) < USABLE_LIMIT))

    def accumulate(
        self, residual: tf.Variable, velocity: tf.Variable | None, contribution: Contribution, thresholds: tf.Tensor
    ) -> SparseUpdate:
        """See `base.Backend`."""
        added, moved = contribution.vector, None
        if velocity is not None:
            moved = self._spec.momentum * velocity + added
            added = added + self._spec.momentum * moved if self._spec.nesterov else moved
        before, sparse = residual.read_value(), self._sparse()
        after = before + added
        good = (tf.abs(tf.where(sparse, after, added)) < USABLE_LIMIT) & contribution.usable
        kept = tf.where(good & sparse, after, before)
        quanta = self._spec.layout.spread(thresholds)
        sendable, usable, quantum = sparse & contribution.usable, tf.reduce_all(good), tf.sign(kept) * quanta
        left, taken = self._take(kept, quantum, quanta, sendable)
        # An update that is not usable adds back what it has taken: the kernel rounds twice likewise.
        residual.assign(tf.where(usable, left, self._give_back(left, quantum, taken)))
        if velocity is not None and moved is not None:
            cleared = taken > 0 if self._spec.masking else tf.constant(False)
            velocity.assign(tf.where(cleared, 0.0, tf.where(good, moved, velocity)))
        indices = tf.where((taken > 0) & usable)[:, 0]
        elements = indices * 2 + tf.cast(tf.gather(kept, indices) < 0, tf.int64)
        elements = tf.repeat(elements, tf.gather(taken, indices))
        peaks = tf.where(contribution.usable, self._peaks(kept), 0.0)
        dense_values = tf.where(contribution.usable, self._dense_values(added), 0.0)
        return SparseUpdate(codec.to_int32(elements), peaks, dense_values, usable)

    def _take(
        self, residual: tf.Tensor, quantum: tf.Tensor, quanta: tf.Tensor, sendable: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Subtracts up to L quanta from each element [D]; returns what is left, and how many it were [D] int32."""
        taken = tf.zeros_like(residual, tf.int32)
        for _ in range(self._spec.levels):
            hit = (tf.abs(residual) >= quanta) & sendable
            residual = vectors.prevent_reassociation(tf.where(hit, residual - quantum, residual))
            taken += tf.cast(hit, tf.int32)
        return residual, taken

    def _give_back(self, residual: tf.Tensor, quantum: tf.Tensor, taken: tf.Tensor) -> tf.Tensor:
        for number in range(self._spec.levels):
            residual = vectors.prevent_reassociation(tf.where(taken > number, residual + quantum, residual))
        return residual

    def _dense_values(self, vector: tf.Tensor) -> tf.Tensor:
        """[D] -> [F], the elements of dense tensors."""
        parts = [vector[start:end] for start, end, dense in self._ranges if dense]
        return tf.concat(parts, axis=0) if parts else tf.zeros([0])

    def _sparse(self) -> tf.Tensor:
        """True for the elements of sparse tensors, [D] bool, or [] where all are."""
        if not self._spec.dense_size:
            return tf.constant(True)
        return tf.repeat(tf.constant([not dense for *_, dense in self._ranges]), self._spec.layout.sizes)

    def _peaks(self, residual: tf.Tensor) -> tf.Tensor:
        """[D] -> largest magnitude of each tensor [T]; 0 for dense and empty ones."""
        return tf.stack(
            [
                tf.constant(0.0) if dense or start == end else tf.reduce_max(tf.abs(residual[start:end]))
                for start, end, dense in self._ranges
            ]
        )

    def encode(self, update: SparseUpdate, header: tf.Tensor, proposal: tf.Tensor | None = None) -> tf.Tensor:
        """See `base.Backend`."""
        return tf.cond(
            update.usable,
            lambda: self._encode_sparse(update, header) if proposal is None else _propose(update, header, proposal),
            lambda: framing.frame(framing.SKIP, header, tf.constant(0), tf.zeros([0], tf.int32)),
        )

    def _encode_sparse(self, update: SparseUpdate, header: tf.Tensor) -> tf.Tensor:
        size, codes, levels = self._spec.layout.size, self._spec.codes, self._spec.levels
        elements = codec.from_int32(update.sent)

        def encode(code: codec.Code) -> tf.Tensor:
            payload = tf.concat(
                [code.encode(elements, size, levels), tf.bitcast(update.dense_values, tf.int32)], axis=0
            )
            return framing.frame(code.number, header, tf.size(elements), payload)

        shortest = tf.argmin(tf.stack([code.length(elements, size, levels) for code in codes]))
        return tf.switch_case(tf.cast(shortest, tf.int32), [lambda code=code: encode(code) for code in codes])

    def decode(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Decoded:
        """See `base.Backend`."""
        messages = self._verified(messages, thresholds, header)
        skip = tf.reduce_any([framing.is_skip(message) for message in messages])
        residual_ratio = tf.reduce_max([framing.residual_ratio_of(message) for message in messages])
        total, counts = tf.cond(skip, self._nothing, lambda: self._summed(messages, thresholds))
        proposed = tf.cond(
            skip | (thresholds[0] > 0),
            lambda: tf.zeros_like(thresholds),
            lambda: _mean_proposal(messages, vectors.size([thresholds])),
        )
        return Decoded(total, counts, skip, residual_ratio, proposed)

    def _verified(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> list[tf.Tensor]:
        """Returns W messages by rank once all are intact and of this step; see `message.verify`."""
        padding = tf.zeros([framing.HEADER], tf.int32)
        digests = [tf.concat([message, padding], axis=0)[framing.DIGEST] for message in messages]
        frame = framing.Frame(
            header=header,
            digest=majority(tf.stack(digests)),
            size=self._spec.layout.size * self._spec.levels,
            dense_values=self._spec.dense_size,
            proposals=tf.where(thresholds[0] > 0, 0, tf.size(thresholds)),
        )
        return [framing.verify(message, rank, frame) for rank, message in enumerate(messages)]

    def _nothing(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros([self._spec.layout.size]), tf.zeros([len(self._ranges)], tf.int64)

    def _summed(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size, tensors = self._spec.layout.size, len(self._ranges)
        elements = tf.concat([self.elements(message) for message in messages], axis=0)
        if self._spec.dense_size:
            sparse = tf.constant([not dense for *_, dense in self._ranges])
            elements = tf.boolean_mask(elements, tf.gather(sparse, self._owners(elements)))
        signs = 1 - 2 * tf.cast(elements % 2, tf.int32)
        numbers = tf.cast(tf.math.unsorted_segment_sum(signs, elements // 2, size), tf.float32)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(elements), self._owners(elements), tensors)
        total = numbers * self._spec.layout.spread(thresholds * self._spec.scale)
        return self._with_dense(total, messages), counts

    def _with_dense(self, total: tf.Tensor, messages: Sequence[tf.Tensor]) -> tf.Tensor:
        """Puts the sum of the dense values into a sum [D]; they are added by rank: the same bits everywhere."""
        size = self._spec.dense_size
        if not size:
            return total
        dense_values = tf.bitcast(messages[0][-size:], tf.float32)
        for message in messages[1:]:
            dense_values = vectors.prevent_reassociation(dense_values + tf.bitcast(message[-size:], tf.float32))
        pieces, offset = [], 0
        for start, end, dense in self._ranges:
            pieces.append(dense_values[offset : offset + end - start] * self._spec.scale if dense else total[start:end])
            offset += end - start if dense else 0
        return tf.concat(pieces, axis=0)

    def elements(self, message: tf.Tensor) -> tf.Tensor:
        """A verified message [M] -> its sparse elements [n] int64, as in `codecs.base`; none for a skip or proposal."""
        size, levels = self._spec.layout.size, self._spec.levels
        payload = message[framing.HEADER : tf.size(message) - self._spec.dense_size]
        count = codec.from_int32(message[framing.COUNT : framing.COUNT + 1])[0]

        def nothing() -> tf.Tensor:
            return tf.zeros([0], tf.int64)

        def unknown() -> tf.Tensor:
            tf.debugging.Assert(False, ["tfscale: a message in an unknown format", framing.format_of(message)])
            return nothing()

        branches = {code.number: lambda code=code: code.decode(payload, count, size, levels) for code in CODES}
        branches |= {framing.SKIP: nothing, framing.PROPOSAL: nothing}
        return tf.switch_case(framing.format_of(message), branches, default=unknown)

    def _owners(self, elements: tf.Tensor) -> tf.Tensor:
        """Sparse elements [n] -> the number of the tensor that each belongs to, [n]."""
        return tf.searchsorted(tf.constant([end for _, end, _ in self._ranges], tf.int64), elements // 2, side="right")

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """See `base.Backend`."""

        def add_back() -> tf.Tensor:
            elements = self.elements(message)
            signs = 1.0 - 2.0 * tf.cast(elements % 2, tf.float32)
            one = thresholds.shape[0] == 1
            quanta = thresholds[0] if one else tf.gather(thresholds, self._owners(elements))
            residual.scatter_nd_add((elements // 2)[:, tf.newaxis], signs * quanta)
            return tf.constant(True)

        tf.cond(wanted, add_back, lambda: tf.constant(False))


def _propose(update: SparseUpdate, header: tf.Tensor, proposal: tf.Tensor) -> tf.Tensor:
    payload = tf.bitcast(tf.concat([proposal, update.dense_values], axis=0), tf.int32)
    return framing.frame(framing.PROPOSAL, header, tf.constant(0), payload)


def _mean_proposal(messages: Sequence[tf.Tensor], count: int) -> tf.Tensor:
    """The mean by rank of `count` proposed thresholds; the largest mean where nobody proposes any."""
    total = tf.zeros([count])
    for message in messages:
        proposal = tf.bitcast(message[framing.HEADER : framing.HEADER + count], tf.float32)
        total = vectors.prevent_reassociation(total + proposal)
    # The graph optimizer would turn a division by a constant into this product.
    mean = total * (np.float32(1) / np.float32(len(messages)))
    return tf.where(mean > 0, mean, tf.reduce_max(mean))
