"""The padded buffer: a message comes out as it went in, with zeros behind it, and the size rarely changes."""

from itertools import pairwise

import numpy as np
import tensorflow as tf

from tfscale.collectives.padded_buffer import STEP, WINDOW, PaddedBuffer


def test_the_size_rarely_changes() -> None:
    buffer, random = PaddedBuffer(), np.random.default_rng(0)
    sizes = []
    for _ in range(10 * WINDOW):
        words = np.arange(1, random.poisson(200) + 1, dtype=np.int32)
        padded = buffer.pad(tf.constant(words)).numpy()
        np.testing.assert_array_equal(padded[: len(words)], words)
        assert not padded[len(words) :].any()
        sizes.append(len(padded))
    assert sum(before != after for before, after in pairwise(sizes)) < 30
    assert np.mean(sizes) < 1.35 * 200
    assert all(size % STEP == 0 for size in sizes)


def test_the_size_grows_at_once_and_shrinks_after_a_window() -> None:
    buffer = PaddedBuffer()
    lengths = [10, 5000, *[10] * (2 * WINDOW)]
    sizes = [int(tf.size(buffer.pad(tf.zeros([length], tf.int32)))) for length in lengths]
    assert sizes[0] == STEP
    assert 5000 < sizes[1] < 5400
    assert sizes[WINDOW - 2] == sizes[1], "a long message keeps its size for the window"
    assert sizes[-1] == STEP


def test_an_empty_message_needs_no_padding() -> None:
    assert PaddedBuffer().pad(tf.zeros([0], tf.int32)).shape == [0]
