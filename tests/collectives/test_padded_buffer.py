"""The room of messages: what comes in comes out, behind it zeros, and its size rarely changes."""

from itertools import pairwise

import numpy as np
import tensorflow as tf

from tfscale.collectives.padded_buffer import STEP, WINDOW, PaddedBuffer


def test_a_room_rarely_changes_its_size() -> None:
    buffer, random = PaddedBuffer(), np.random.default_rng(0)
    sizes = []
    for _ in range(10 * WINDOW):
        words = np.arange(1, random.poisson(200) + 1, dtype=np.int32)
        put = buffer.put(tf.constant(words)).numpy()
        np.testing.assert_array_equal(put[: len(words)], words)
        assert not put[len(words) :].any()
        sizes.append(len(put))
    assert sum(before != after for before, after in pairwise(sizes)) < 30
    assert np.mean(sizes) < 1.35 * 200
    assert all(size % STEP == 0 for size in sizes)


def test_a_room_grows_at_once_and_shrinks_after_a_while() -> None:
    buffer = PaddedBuffer()
    lengths = [10, 5000, *[10] * (2 * WINDOW)]
    sizes = [int(tf.size(buffer.put(tf.zeros([length], tf.int32)))) for length in lengths]
    assert sizes[0] == STEP
    assert 5000 < sizes[1] < 5400
    assert sizes[WINDOW - 2] == sizes[1], "one long message keeps its room for as long as others may follow"
    assert sizes[-1] == STEP


def test_nothing_needs_no_room() -> None:
    assert PaddedBuffer().put(tf.zeros([0], tf.int32)).shape == [0]
