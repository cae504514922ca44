"""Routes: how the messages of an exchange become the sum of what all replicas sent, with the same bits on each.

    gathered   every replica gets the messages of all and adds them: the least for few replicas; bytes and time grow
               with their number
    divided    each replica adds one part of the elements and gets only those of all messages (a reduce-scatter), then
               every replica gets all sums: twice the turns, and far less to read for many replicas

Sums are integers until the end, so both give the same bits, and counts, proposals and skips are those of all messages.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, final

import tensorflow as tf

from tfscale.collectives.base import Collective, bundle_bytes, gather_bytes
from tfscale.collectives.traffic import SCATTER_FROM
from tfscale.compression import message as framing
from tfscale.compression.backends.base import Backend, Decoded, Merged
from tfscale.compression.codecs.base import Code
from tfscale.compression.stopwatch import Stopwatch

Reduce = Literal["auto", "gather", "scatter"]


def divides(reduce: Reduce, replicas: int, codes: Sequence[Code], dense_size: int, size: int) -> bool:
    """Returns whether each replica adds one part of the elements.

    Args:
        reduce: What is wanted.
        replicas: W.
        codes: Of messages: those of the bitmap are as long for a part as for all.
        dense_size: F; all parts have all dense values.
        size: D.
    """
    suits = replicas >= SCATTER_FROM and any(code.repeats for code in codes) and replicas * dense_size <= size
    return reduce == "scatter" or (reduce == "auto" and suits)


class Arrived(NamedTuple):
    """The outcome of an exchange.

    Attributes:
        decoded: The content of all messages.
        skipped: [] int64, steps that replicas have skipped alone, of all.
        bytes: [] int64, over all replicas (see `collectives.base`).
        words: [] float32, mean length of what a replica sends to others at first: its message, or its bundle.
        sum_words: [] float32, mean length of the sum of a part; 0 if every replica adds all.
    """

    decoded: Decoded
    skipped: tf.Tensor
    bytes: tf.Tensor
    words: tf.Tensor
    sum_words: tf.Tensor


class Route(Protocol):
    """Exchanges the messages of all replicas."""

    def __call__(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Arrived:
        """R messages or bundles -> the content of all W.

        Args:
            messages: Of this process's replicas.
            thresholds: [1] or [T] that they were made with.
            header: [4] int32: step, threshold, digest, and nothing.

        Raises:
            tf.errors.OpError: A message is damaged, or of another step, threshold or set of parameters.
        """
        ...


@final
class Gathered:
    """Every replica adds all messages.

    Args:
        collective: Transport.
        backend: Reads messages.
        stopwatch: Measures `exchange` and `decode`.
    """

    def __init__(self, *, collective: Collective, backend: Backend, stopwatch: Stopwatch) -> None:
        self._collective, self._backend, self._stopwatch = collective, backend, stopwatch
        self._gather = collective.regular_gather()

    def __call__(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Arrived:
        """See `Route`."""
        gathered = self._stopwatch.time("exchange", messages, lambda: self._gather(messages))
        decoded = self._stopwatch.time(
            "decode", gathered, lambda: self._backend.decode(gathered, thresholds, header[:2])
        )
        words = _sizes(gathered)
        with tf.control_dependencies([decoded.skip]):  # messages are verified
            skipped = tf.add_n([framing.skipped_of(message) for message in gathered])
        return Arrived(
            decoded=decoded,
            skipped=skipped,
            bytes=gather_bytes(words, self._collective.size),
            words=tf.cast(words, tf.float32) / self._collective.size,
            sum_words=tf.constant(0.0),
        )


@final
class Divided:
    """Each replica adds one part of the elements.

    Args:
        collective: Transport.
        backend: Reads messages; its exchange has a part for each replica.
        stopwatch: Measures `exchange` and `decode`.
    """

    def __init__(self, *, collective: Collective, backend: Backend, stopwatch: Stopwatch) -> None:
        self._collective, self._backend, self._stopwatch = collective, backend, stopwatch
        self._gather = collective.regular_gather()

    def __call__(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Arrived:
        """See `Route`."""
        ranks, size, backend, time = self._collective.ranks, self._collective.size, self._backend, self._stopwatch.time
        bundles = time("exchange", messages, lambda: self._collective.all_to_all(messages), ends=False)

        def merge() -> list[tuple[Merged, tf.Tensor]]:
            made = []
            for rank, bundle in zip(ranks, bundles, strict=True):
                merged = backend.merge(bundle, rank, thresholds, header[:2])
                made.append((merged, backend.encode_sum(merged, rank, _from_others(bundle, rank, size), header)))
            return made

        parts = time("decode", bundles, merge, ends=False)
        own = [message for _, message in parts]
        gathered = time("exchange", own, lambda: self._gather(own), begins=False)
        first, _ = parts[0]
        sums = time(
            "decode", gathered, lambda: backend.read_sums(gathered, first, thresholds, header[:2]), begins=False
        )
        sum_words = _sizes(gathered)
        return Arrived(
            decoded=Decoded(sums.sum, sums.counts, first.skip, first.residual_ratio, first.proposed),
            skipped=first.skipped,
            bytes=bundle_bytes(sums.words) + gather_bytes(sum_words, size),
            words=tf.cast(sums.words, tf.float32) / size,
            sum_words=tf.cast(sum_words, tf.float32) / size,
        )


def _sizes(messages: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([tf.size(message, out_type=tf.int64) for message in messages])


def _from_others(bundle: tf.Tensor, rank: int, size: int) -> tf.Tensor:
    """Words of the messages of other ranks in a bundle that a rank has received, [] int64."""
    return tf.size(bundle, out_type=tf.int64) - size - tf.cast(bundle[rank], tf.int64)
