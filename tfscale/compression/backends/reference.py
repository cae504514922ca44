"""The compressor in TensorFlow operations: the reference for the kernels, and what runs on GPUs or without them."""

import itertools
from collections.abc import Sequence
from typing import final

import numpy as np
import tensorflow as tf

from tfscale import vectors
from tfscale.compression import message as framing
from tfscale.compression.backends.base import UNUSABLE, Combined, Contribution, SparseUpdate, Spec
from tfscale.compression.codecs import base as codes_of
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.word32 import Word32
from tfscale.digest import usual

CODES = (Word32(), Bitmap(), Rice())
"""All that a message can be written in, at the places that their numbers say."""


@final
class Reference:
    """Works on any device.

    Args:
        rule: What does not change from step to step.
    """

    name = "plain TensorFlow operations"

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        starts = [0, *itertools.accumulate(spec.layout.sizes)]
        self._parts = list(zip(starts, starts[1:], spec.dense, strict=False))
        self._dense_size = sum(end - start for start, end, dense in self._parts if dense)

    def _dense(self, vector: tf.Tensor) -> tf.Tensor:
        """[D] -> [F], the tensors that are exchanged whole."""
        parts = [vector[start:end] for start, end, dense in self._parts if dense]
        return tf.concat(parts, axis=0) if parts else tf.zeros([0])

    def _sparse(self) -> tf.Tensor:
        """[D] bool (or []): not exchanged whole."""
        if not self._dense_size:
            return tf.constant(True)
        return tf.repeat(tf.constant([not dense for *_, dense in self._parts]), self._spec.layout.sizes)

    def check(self, vector: tf.Tensor) -> Contribution:
        """See `base.Compressor`."""
        return Contribution(vector, tf.reduce_all(tf.abs(vector) < UNUSABLE))

    def accumulate(
        self, residual: tf.Variable, velocity: tf.Variable | None, contribution: Contribution, thresholds: tf.Tensor
    ) -> SparseUpdate:
        """See `base.Compressor`."""
        added, moved = contribution.vector, None
        if velocity is not None:
            moved = self._spec.momentum * velocity + added
            added = added + self._spec.momentum * moved if self._spec.nesterov else moved
        before, sparse = residual.read_value(), self._sparse()
        after = before + added
        good = (tf.abs(tf.where(sparse, after, added)) < UNUSABLE) & contribution.usable
        kept = tf.where(good & sparse, after, before)
        hit = (tf.abs(kept) >= self._spec.layout.spread(thresholds)) & sparse & contribution.usable
        quantum = tf.where(hit, tf.sign(kept) * self._spec.layout.spread(thresholds), 0.0)
        usable = tf.reduce_all(good)
        left = tf.where(hit, kept - quantum, kept)
        # An unsound step takes back what it has sent: the rounding of both is what the kernel's is.
        residual.assign(tf.where(usable | ~hit, left, left + quantum))
        if velocity is not None and moved is not None:
            cleared = hit if self._spec.masking else tf.constant(False)
            velocity.assign(tf.where(cleared, 0.0, tf.where(good, moved, velocity)))
        indices = tf.where(hit & usable)[:, 0]
        words = indices * 2 + tf.cast(tf.gather(kept, indices) < 0, tf.int64)
        peaks = [
            tf.constant(0.0) if dense or start == end else tf.reduce_max(tf.abs(kept[start:end]))
            for start, end, dense in self._parts
        ]
        peaks = tf.where(contribution.usable, tf.stack(peaks), 0.0)
        dense_values = tf.where(contribution.usable, self._dense(added), 0.0)
        return SparseUpdate(codes_of.to_int32(words), peaks, dense_values, usable)

    def pack(self, found: SparseUpdate, header: tf.Tensor) -> tf.Tensor:
        """See `base.Compressor`."""
        size, codes = self._spec.layout.size, self._spec.codes
        words = codes_of.from_int32(found.sent)

        def written() -> tf.Tensor:
            shortest = tf.argmin(tf.stack([code.length(words, size) for code in codes]))
            return tf.switch_case(
                tf.cast(shortest, tf.int32),
                [lambda code=code: self._frame(code, words, found, header) for code in codes],
            )

        nothing = tf.zeros([0], tf.int32)
        return tf.cond(found.usable, written, lambda: framing.frame(framing.SKIP, header, tf.constant(0), nothing))

    def _frame(self, code: codes_of.Code, words: tf.Tensor, found: SparseUpdate, header: tf.Tensor) -> tf.Tensor:
        payload = code.pack(words, self._spec.layout.size)
        payload = tf.concat([payload, tf.bitcast(found.dense_values, tf.int32)], axis=0)
        return framing.frame(code.number, header, tf.size(words), payload)

    def propose(self, found: SparseUpdate, proposal: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        """See `base.Compressor`."""
        payload = tf.bitcast(tf.concat([proposal, found.dense_values], axis=0), tf.int32)
        payload, number = tf.cond(
            found.usable,
            lambda: (payload, tf.constant(framing.PROPOSAL)),
            lambda: (tf.zeros([0], tf.int32), tf.constant(framing.SKIP)),
        )
        return framing.frame(number, header, tf.constant(0), payload)

    def listed(self, message: tf.Tensor) -> tf.Tensor:
        """A sound message [M] -> what it sends, [n] int64 as in `codecs.base`; nothing for a void one or a proposal."""
        size = self._spec.layout.size
        payload = message[framing.HEADER : tf.size(message) - self._dense_size]
        count = codes_of.from_int32(message[3:4])[0]

        def nothing() -> tf.Tensor:
            return tf.zeros([0], tf.int64)

        def unknown() -> tf.Tensor:
            tf.debugging.Assert(False, ["tfscale: a message in an unknown format", framing.format_of(message)])
            return nothing()

        branches = [nothing, *(lambda code=code: code.unpack(payload, count, size) for code in CODES)]
        branches.append(nothing)
        return tf.switch_case(framing.format_of(message), dict(enumerate(branches)), default=unknown)

    def _quanta(self, words: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
        """A list [n] and thresholds [1] or [T] -> the threshold of each element, [] or [n]."""
        return thresholds[0] if thresholds.shape[0] == 1 else tf.gather(thresholds, self._owners(words))

    def _owners(self, words: tf.Tensor) -> tf.Tensor:
        """A list [n] -> the number of the tensor that each element belongs to, [n]."""
        return tf.searchsorted(tf.constant([end for _, end, _ in self._parts], tf.int64), words // 2, side="right")

    def _verified(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> list[tf.Tensor]:
        """W messages by rank -> the same, if they are whole, of this step, and agree; see `codecs.message.verify`."""
        padding = tf.zeros([framing.HEADER], tf.int32)
        frame = framing.Frame(
            header=header,
            digest=usual(tf.stack([tf.concat([each, padding], axis=0)[4] for each in messages])),
            size=self._spec.layout.size,
            dense_values=self._dense_size,
            proposals=tf.where(thresholds[0] > 0, 0, tf.size(thresholds)),
        )
        return [framing.verify(each, rank, frame) for rank, each in enumerate(messages)]

    def combine(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Combined:
        """See `base.Compressor`."""
        messages = self._verified(messages, thresholds, header)
        skip = tf.reduce_any([framing.is_skip(message) for message in messages])
        residual_ratio = tf.reduce_max([framing.residual_ratio_of(message) for message in messages])
        total, counts = tf.cond(skip, self._nothing, lambda: self._summed(messages, thresholds))
        proposed = tf.cond(
            skip | (thresholds[0] > 0),
            lambda: tf.zeros_like(thresholds),
            lambda: self._agreed(messages, vectors.size([thresholds])),
        )
        return Combined(total, counts, skip, residual_ratio, proposed)

    def _agreed(self, messages: Sequence[tf.Tensor], count: int) -> tf.Tensor:
        total = tf.zeros([count])
        for each in messages:
            total = vectors.prevent_reassociation(
                total + tf.bitcast(each[framing.HEADER : framing.HEADER + count], tf.float32)
            )
        # The graph optimizer would make a division by a constant this product.
        mean = total * (np.float32(1) / np.float32(len(messages)))
        return tf.where(mean > 0, mean, tf.reduce_max(mean))

    def _nothing(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros([self._spec.layout.size]), tf.zeros([len(self._parts)], tf.int64)

    def _summed(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size, tensors = self._spec.layout.size, len(self._parts)
        lists = [self.listed(message) for message in messages]
        everything = tf.concat(lists, axis=0)
        if self._dense_size:
            sparse = tf.constant([not dense for *_, dense in self._parts])
            everything = tf.boolean_mask(everything, tf.gather(sparse, self._owners(everything)))
        signs = 1 - 2 * tf.cast(everything % 2, tf.int32)
        numbers = tf.cast(tf.math.unsorted_segment_sum(signs, everything // 2, size), tf.float32)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(everything), self._owners(everything), tensors)
        total = numbers * self._spec.layout.spread(thresholds * self._spec.scale)
        return self._with_whole(total, messages), counts

    def _with_whole(self, total: tf.Tensor, messages: Sequence[tf.Tensor]) -> tf.Tensor:
        """A sum [D] with the sum of what travels whole in its place, added by rank: the same bits everywhere."""
        if not self._dense_size:
            return total
        dense_values = tf.bitcast(messages[0][-self._dense_size :], tf.float32)
        for message in messages[1:]:
            dense_values = vectors.prevent_reassociation(
                dense_values + tf.bitcast(message[-self._dense_size :], tf.float32)
            )
        pieces, at = [], 0
        for start, end, dense in self._parts:
            pieces.append(dense_values[at : at + end - start] * self._spec.scale if dense else total[start:end])
            at += end - start if dense else 0
        return tf.concat(pieces, axis=0)

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """See `base.Compressor`."""

        def give_back() -> tf.Tensor:
            words = self.listed(message)
            signs = 1.0 - 2.0 * tf.cast(words % 2, tf.float32)
            residual.scatter_nd_add((words // 2)[:, tf.newaxis], signs * self._quanta(words, thresholds))
            return tf.constant(True)

        tf.cond(wanted, give_back, lambda: tf.constant(False))
