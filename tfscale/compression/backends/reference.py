"""The backend in TensorFlow operations: the reference for the kernels, and what runs on GPUs or without them."""

import itertools
from collections.abc import Sequence
from typing import final

import numpy as np
import tensorflow as tf

from tfscale import vectors
from tfscale.collectives.bundles import pack, unpack
from tfscale.compression import message as framing
from tfscale.compression.backends.base import (
    USABLE_LIMIT,
    Contribution,
    Decoded,
    Merged,
    SparseUpdate,
    Spec,
    Sums,
    sum_codes,
    sum_tail,
)
from tfscale.compression.backends.reference_reading import Reading
from tfscale.compression.codecs import base as codec


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
        self._reading = Reading(spec)

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
        if not self._spec.parts:
            return self._encode(update, header, proposal)
        own = [self._of_part(update, number) for number in range(self._spec.parts)]
        return pack([self._encode(each, header, proposal) for each in own])

    def _of_part(self, update: SparseUpdate, number: int) -> SparseUpdate:
        indices = codec.from_int32(update.sent) // 2
        begin, end = self._spec.part(number)
        return update._replace(sent=tf.boolean_mask(update.sent, (indices >= begin) & (indices < end)))

    def _encode(self, update: SparseUpdate, header: tf.Tensor, proposal: tf.Tensor | None) -> tf.Tensor:
        codes, levels = self._spec.codes, self._spec.levels
        return tf.cond(
            update.usable,
            lambda: (
                self._encode_sparse(update, header, codes, levels)
                if proposal is None
                else _propose(update, header, proposal)
            ),
            lambda: framing.frame(framing.SKIP, header, tf.constant(0), tf.zeros([0], tf.int32)),
        )

    def _encode_sparse(
        self, update: SparseUpdate, header: tf.Tensor, codes: Sequence[codec.Code], levels: int
    ) -> tf.Tensor:
        size, elements = self._spec.layout.size, codec.from_int32(update.sent)

        def encode(code: codec.Code) -> tf.Tensor:
            payload = tf.concat(
                [code.encode(elements, size, levels), tf.bitcast(update.dense_values, tf.int32)], axis=0
            )
            return framing.frame(code.number, header, tf.size(elements), payload)

        shortest = tf.argmin(tf.stack([code.length(elements, size, levels) for code in codes]))
        return tf.switch_case(tf.cast(shortest, tf.int32), [lambda code=code: encode(code) for code in codes])

    def decode(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Decoded:
        """See `base.Backend`."""
        messages = self._reading.verified(messages, thresholds, header)
        skip = tf.reduce_any([framing.is_skip(message) for message in messages])
        residual_ratio = tf.reduce_max([framing.residual_ratio_of(message) for message in messages])
        total, counts = tf.cond(skip, self._nothing, lambda: self._summed(messages, thresholds))
        return Decoded(total, counts, skip, residual_ratio, _proposed(messages, thresholds, skip))

    def _nothing(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros([self._spec.layout.size]), tf.zeros([len(self._ranges)], tf.int64)

    def _summed(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size, tensors = self._spec.layout.size, len(self._ranges)
        listed = tf.concat([self._reading.elements(message) for message in messages], axis=0)
        elements = self._reading.of_sparse_tensors(listed)
        signs = 1 - 2 * tf.cast(elements % 2, tf.int32)
        numbers = tf.cast(tf.math.unsorted_segment_sum(signs, elements // 2, size), tf.float32)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(elements), self._reading.owners(elements), tensors)
        total = numbers * self._spec.layout.spread(thresholds * self._spec.scale)
        return self._with_dense(total, messages), counts

    def _with_dense(self, total: tf.Tensor, messages: Sequence[tf.Tensor]) -> tf.Tensor:
        """Puts the sum of the dense values into a sum [D]; they are added by rank: the same bits everywhere."""
        if not self._spec.dense_size:
            return total
        return self._place_dense(total, self._reading.dense_sums(messages))

    def _place_dense(self, total: tf.Tensor, dense_values: tf.Tensor) -> tf.Tensor:
        pieces, offset = [], 0
        for start, end, dense in self._ranges:
            pieces.append(dense_values[offset : offset + end - start] * self._spec.scale if dense else total[start:end])
            offset += end - start if dense else 0
        return tf.concat(pieces, axis=0)

    def merge(self, bundle: tf.Tensor, part: int, thresholds: tf.Tensor, header: tf.Tensor) -> Merged:
        """See `base.Backend`."""
        messages = self._reading.verified(unpack(bundle, self._spec.parts), thresholds, header)
        skip = tf.reduce_any([framing.is_skip(message) for message in messages])
        elements, counts, dense_sums = tf.cond(
            skip,
            lambda: (tf.zeros([0], tf.int32), self._nothing()[1], tf.zeros([self._spec.dense_size])),
            lambda: (*self._merged(messages, part), self._reading.dense_sums(messages)),
        )
        return Merged(
            elements=elements,
            counts=counts,
            dense_sums=dense_sums,
            skip=skip,
            residual_ratio=tf.reduce_max([framing.residual_ratio_of(message) for message in messages]),
            proposed=_proposed(messages, thresholds, skip),
            skipped=tf.add_n([framing.skipped_of(message) for message in messages]),
        )

    def _merged(self, messages: Sequence[tf.Tensor], part: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The sum of a part's elements, as a list, and the number of those sent of each tensor."""
        begin, end = self._spec.part(part)
        each = [self._reading.elements(message) for message in messages]
        for rank, elements in enumerate(each):
            self._reading.require_part(elements, part, rank)
        elements = tf.concat(each, axis=0)
        sparse = self._reading.of_sparse_tensors(elements)
        signs = 1 - 2 * tf.cast(elements % 2, tf.int32)
        numbers = tf.math.unsorted_segment_sum(signs, elements // 2 - begin, end - begin)
        indices = tf.where(numbers)[:, 0]
        there = tf.gather(numbers, indices)
        listed = (indices + begin) * 2 + tf.cast(there < 0, tf.int64)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(sparse), self._reading.owners(sparse), len(self._ranges))
        return codec.to_int32(tf.repeat(listed, tf.abs(there))), counts

    def encode_sum(self, merged: Merged, part: int, words: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        """See `base.Backend`."""
        tail = sum_tail(merged, self._spec.tensors_of_part(part), words)
        update = SparseUpdate(merged.elements, tf.zeros([0]), tail, tf.constant(True))
        return self._encode_sparse(update, header, sum_codes(self._spec.codes), self._spec.levels * self._spec.parts)

    def read_sums(
        self, messages: Sequence[tf.Tensor], merged: Merged, thresholds: tf.Tensor, header: tf.Tensor
    ) -> Sums:
        """See `base.Backend`."""
        sums = self._reading.sums(messages, header)
        signs = 1 - 2 * tf.cast(sums.elements % 2, tf.int32)
        numbers = tf.math.unsorted_segment_sum(signs, sums.elements // 2, self._spec.layout.size)
        total = tf.cast(numbers, tf.float32) * self._spec.layout.spread(thresholds * self._spec.scale)
        total = self._place_dense(total, merged.dense_sums) if self._spec.dense_size else total
        return Sums(tf.where(merged.skip, 0.0, total), sums.counts, sums.words)

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """See `base.Backend`."""

        def add_back() -> tf.Tensor:
            messages = unpack(message, self._spec.parts) if self._spec.parts else [message]
            elements = tf.concat([self._reading.elements(each) for each in messages], axis=0)
            signs = 1.0 - 2.0 * tf.cast(elements % 2, tf.float32)
            one = thresholds.shape[0] == 1
            quanta = thresholds[0] if one else tf.gather(thresholds, self._reading.owners(elements))
            residual.scatter_nd_add((elements // 2)[:, tf.newaxis], signs * quanta)
            return tf.constant(True)

        tf.cond(wanted, add_back, lambda: tf.constant(False))


def _propose(update: SparseUpdate, header: tf.Tensor, proposal: tf.Tensor) -> tf.Tensor:
    payload = tf.bitcast(tf.concat([proposal, update.dense_values], axis=0), tf.int32)
    return framing.frame(framing.PROPOSAL, header, tf.constant(0), payload)


def _proposed(messages: Sequence[tf.Tensor], thresholds: tf.Tensor, skip: tf.Tensor) -> tf.Tensor:
    """The thresholds that verified messages propose; zeros if they do not."""
    return tf.cond(
        skip | (thresholds[0] > 0),
        lambda: tf.zeros_like(thresholds),
        lambda: _mean_proposal(messages, vectors.size([thresholds])),
    )


def _mean_proposal(messages: Sequence[tf.Tensor], count: int) -> tf.Tensor:
    """The mean by rank of `count` proposed thresholds; the largest mean where nobody proposes any."""
    total = tf.zeros([count])
    for message in messages:
        proposal = tf.bitcast(message[framing.HEADER : framing.HEADER + count], tf.float32)
        total = vectors.prevent_reassociation(total + proposal)
    # The graph optimizer would turn a division by a constant into this product.
    mean = total * (np.float32(1) / np.float32(len(messages)))
    return tf.where(mean > 0, mean, tf.reduce_max(mean))
