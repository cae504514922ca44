"""The compressor in TensorFlow operations: the reference for the kernels, and what runs on GPUs or without them."""

import itertools
from collections.abc import Sequence
from typing import final

import numpy as np
import tensorflow as tf

from tfscale import vectors
from tfscale.compression import message as framing
from tfscale.compression.backends.base import UNSOUND, Combined, Contribution, Found, Rule
from tfscale.compression.codecs import base as codes_of
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.word32 import Word32
from tfscale.digest import usual

CODES = (Word32(), Bitmap(), Rice())
"""All that a message can be written in, at the places that their numbers say."""


@final
class Plain:
    """Works on any device.

    Args:
        rule: What does not change from step to step.
    """

    name = "plain TensorFlow operations"

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        starts = [0, *itertools.accumulate(rule.layout.sizes)]
        self._parts = list(zip(starts, starts[1:], rule.whole, strict=False))
        self._small = sum(end - start for start, end, whole in self._parts if whole)

    def _whole(self, vector: tf.Tensor) -> tf.Tensor:
        """[D] -> [F], the tensors that are exchanged whole."""
        parts = [vector[start:end] for start, end, whole in self._parts if whole]
        return tf.concat(parts, axis=0) if parts else tf.zeros([0])

    def _sparse(self) -> tf.Tensor:
        """[D] bool (or []): not exchanged whole."""
        if not self._small:
            return tf.constant(True)
        return tf.repeat(tf.constant([not whole for *_, whole in self._parts]), self._rule.layout.sizes)

    def check(self, vector: tf.Tensor) -> Contribution:
        """See `base.Compressor`."""
        return Contribution(vector, tf.reduce_all(tf.abs(vector) < UNSOUND))

    def accumulate(
        self, residual: tf.Variable, velocity: tf.Variable | None, contribution: Contribution, thresholds: tf.Tensor
    ) -> Found:
        """See `base.Compressor`."""
        added, moved = contribution.vector, None
        if velocity is not None:
            moved = self._rule.momentum * velocity + added
            added = added + self._rule.momentum * moved if self._rule.nesterov else moved
        before, sparse = residual.read_value(), self._sparse()
        after = before + added
        good = (tf.abs(tf.where(sparse, after, added)) < UNSOUND) & contribution.sound
        kept = tf.where(good & sparse, after, before)
        hit = (tf.abs(kept) >= self._rule.layout.spread(thresholds)) & sparse & contribution.sound
        quantum = tf.where(hit, tf.sign(kept) * self._rule.layout.spread(thresholds), 0.0)
        sound = tf.reduce_all(good)
        left = tf.where(hit, kept - quantum, kept)
        # An unsound step takes back what it has sent: the rounding of both is what the kernel's is.
        residual.assign(tf.where(sound | ~hit, left, left + quantum))
        if velocity is not None and moved is not None:
            cleared = hit if self._rule.masking else tf.constant(False)
            velocity.assign(tf.where(cleared, 0.0, tf.where(good, moved, velocity)))
        indices = tf.where(hit & sound)[:, 0]
        words = indices * 2 + tf.cast(tf.gather(kept, indices) < 0, tf.int64)
        peaks = [
            tf.constant(0.0) if whole or start == end else tf.reduce_max(tf.abs(kept[start:end]))
            for start, end, whole in self._parts
        ]
        peaks = tf.where(contribution.sound, tf.stack(peaks), 0.0)
        small = tf.where(contribution.sound, self._whole(added), 0.0)
        return Found(codes_of.to_int32(words), peaks, small, sound)

    def pack(self, found: Found, header: tf.Tensor) -> tf.Tensor:
        """See `base.Compressor`."""
        size, codes = self._rule.layout.size, self._rule.codes
        words = codes_of.from_int32(found.sent)

        def written() -> tf.Tensor:
            shortest = tf.argmin(tf.stack([code.length(words, size) for code in codes]))
            return tf.switch_case(
                tf.cast(shortest, tf.int32),
                [lambda code=code: self._seal(code, words, found, header) for code in codes],
            )

        nothing = tf.zeros([0], tf.int32)
        return tf.cond(found.sound, written, lambda: framing.seal(framing.VOID, header, tf.constant(0), nothing))

    def _seal(self, code: codes_of.Code, words: tf.Tensor, found: Found, header: tf.Tensor) -> tf.Tensor:
        payload = code.pack(words, self._rule.layout.size)
        payload = tf.concat([payload, tf.bitcast(found.small, tf.int32)], axis=0)
        return framing.seal(code.number, header, tf.size(words), payload)

    def propose(self, found: Found, proposal: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        """See `base.Compressor`."""
        payload = tf.bitcast(tf.concat([proposal, found.small], axis=0), tf.int32)
        payload, number = tf.cond(
            found.sound,
            lambda: (payload, tf.constant(framing.OPENING)),
            lambda: (tf.zeros([0], tf.int32), tf.constant(framing.VOID)),
        )
        return framing.seal(number, header, tf.constant(0), payload)

    def listed(self, message: tf.Tensor) -> tf.Tensor:
        """A sound message [M] -> what it sends, [n] int64 as in `codecs.base`; nothing for a void one or a proposal."""
        size = self._rule.layout.size
        payload = message[framing.HEADER : tf.size(message) - self._small]
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
            size=self._rule.layout.size,
            small=self._small,
            proposals=tf.where(thresholds[0] > 0, 0, tf.size(thresholds)),
        )
        return [framing.verify(each, rank, frame) for rank, each in enumerate(messages)]

    def combine(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Combined:
        """See `base.Compressor`."""
        messages = self._verified(messages, thresholds, header)
        void = tf.reduce_any([framing.is_void(message) for message in messages])
        strain = tf.reduce_max([framing.strain_of(message) for message in messages])
        total, counts = tf.cond(void, self._nothing, lambda: self._summed(messages, thresholds))
        proposed = tf.cond(
            void | (thresholds[0] > 0),
            lambda: tf.zeros_like(thresholds),
            lambda: self._agreed(messages, vectors.size([thresholds])),
        )
        return Combined(total, counts, void, strain, proposed)

    def _agreed(self, messages: Sequence[tf.Tensor], count: int) -> tf.Tensor:
        total = tf.zeros([count])
        for each in messages:
            total = vectors.opaque(total + tf.bitcast(each[framing.HEADER : framing.HEADER + count], tf.float32))
        # The graph optimizer would make a division by a constant this product.
        mean = total * (np.float32(1) / np.float32(len(messages)))
        return tf.where(mean > 0, mean, tf.reduce_max(mean))

    def _nothing(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros([self._rule.layout.size]), tf.zeros([len(self._parts)], tf.int64)

    def _summed(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size, tensors = self._rule.layout.size, len(self._parts)
        lists = [self.listed(message) for message in messages]
        everything = tf.concat(lists, axis=0)
        if self._small:
            sparse = tf.constant([not whole for *_, whole in self._parts])
            everything = tf.boolean_mask(everything, tf.gather(sparse, self._owners(everything)))
        signs = 1 - 2 * tf.cast(everything % 2, tf.int32)
        numbers = tf.cast(tf.math.unsorted_segment_sum(signs, everything // 2, size), tf.float32)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(everything), self._owners(everything), tensors)
        total = numbers * self._rule.layout.spread(thresholds * self._rule.scale)
        return self._with_whole(total, messages), counts

    def _with_whole(self, total: tf.Tensor, messages: Sequence[tf.Tensor]) -> tf.Tensor:
        """A sum [D] with the sum of what travels whole in its place, added by rank: the same bits everywhere."""
        if not self._small:
            return total
        small = tf.bitcast(messages[0][-self._small :], tf.float32)
        for message in messages[1:]:
            small = vectors.opaque(small + tf.bitcast(message[-self._small :], tf.float32))
        pieces, at = [], 0
        for start, end, whole in self._parts:
            pieces.append(small[at : at + end - start] * self._rule.scale if whole else total[start:end])
            at += end - start if whole else 0
        return tf.concat(pieces, axis=0)

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """See `base.Compressor`."""

        def give_back() -> tf.Tensor:
            words = self.listed(message)
            signs = 1.0 - 2.0 * tf.cast(words % 2, tf.float32)
            residual.scatter_nd_add((words // 2)[:, tf.newaxis], signs * self._quanta(words, thresholds))
            return tf.constant(True)

        tf.cond(wanted, give_back, lambda: tf.constant(False))
