"""The figures of gradient sharing, from the state of its compressor; `measurements` says how they are shown."""

from dataclasses import replace

import tensorflow as tf

from tfscale.collectives.traffic import Traffic
from tfscale.compression.state import CompressorState
from tfscale.strategies.base import SKIPPED_STEPS
from tfscale.vectors import Layout


def of_all_tensors(state: CompressorState, layout: Layout, replicas: int, *, clips: bool) -> dict[str, tf.Tensor]:
    """Returns totals since the start, and figures of the last compressed step; [] each.

    Args:
        state: Of this process.
        layout: Of the trainable tensors.
        replicas: W.
        clips: Whether residuals are clipped.
    """
    sent, feedback = tf.cast(tf.reduce_sum(state.counts), tf.float32), state.error_feedback
    lost = {
        "clipped": [each.clipped for each in feedback] if clips else [],
        "decayed": [each.decayed for each in feedback if each.decayed is not None],
    }
    return {
        "bytes_sent": state.bytes_sent.read_value(),
        SKIPPED_STEPS: state.skipped_steps.read_value(),
        "density": sent / (layout.size * replicas),
        "threshold": tf.reduce_mean(state.thresholds),
        "residual_ratio": tf.reduce_max(tf.math.divide_no_nan(state.peaks, state.thresholds)),
        **{name: tf.add_n([each.read_value() for each in sums]) for name, sums in lost.items() if sums},
    }


def of_tensors(state: CompressorState, layout: Layout, replicas: int) -> dict[str, tf.Tensor]:
    """Returns density, threshold and residual ratio of each tensor in the last step, [T] float32 each."""
    elements = tf.constant([max(size, 1) * replicas for size in layout.sizes], tf.float32)
    return {
        "density": tf.cast(state.counts, tf.float32) / elements,
        "threshold": tf.broadcast_to(state.thresholds, state.peaks.shape),
        "residual_ratio": tf.math.divide_no_nan(state.peaks, state.thresholds),
    }


def of_messages(state: CompressorState, *, every: int, is_hidden: bool, divides: bool) -> list[Traffic]:
    """Returns what a replica exchanges with messages as long as the last ones.

    Args:
        state: Of this process.
        every: Steps of a round.
        is_hidden: Whether replicas compute meanwhile.
        divides: Whether each replica adds one part of the elements.
    """
    first = Traffic(kind="gather", words=float(state.message_words), every=every, is_hidden=is_hidden)
    return [replace(first, kind="scatter"), replace(first, words=float(state.sum_words))] if divides else [first]
