"""No wrong byte goes unseen: a thousand messages of every format, each of their bytes changed in turn."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.compression import CODECS, DAMAGED, add, header, spec, update_of
from tfscale.compression import message as framing
from tfscale.compression.backends.native import Native
from tfscale.compression.backends.reference import Reference
from tfscale.compression.codecs.base import Code

MESSAGES = 1000


def a_message(codes: tuple[Code, ...], random: np.random.Generator) -> tuple[Native, tf.Tensor, tf.Tensor]:
    """A backend, thresholds and a message that it has made with them: elements, a proposal, or a skip."""
    sizes = tuple(int(size) for size in random.integers(1, 60, 3))
    settings = spec(*sizes, codes=codes, min_size=int(random.integers(0, 12)))
    backend = Native(settings)
    layout, kind = settings.layout, random.random()
    if kind < 0.1:
        uninitialized = tf.zeros([3])
        dense_values = layout.size - settings.sparse_size
        update = update_of(3, *random.standard_normal(dense_values))
        return (
            backend,
            uninitialized,
            backend.encode(update, header(uninitialized), tf.constant(random.random(3), tf.float32)),
        )
    thresholds = tf.constant([0.1 + random.random()], tf.float32)
    given = random.standard_normal(layout.size)
    given[0] = np.nan if kind < 0.15 else given[0]
    update = add(backend, tf.Variable(tf.zeros([layout.size])), tf.constant(given, tf.float32), thresholds)
    return backend, thresholds, backend.encode(update, header(thresholds))


@pytest.mark.parametrize("density", [0.003, 0.03, 0.1, 0.2])
def test_a_damaged_payload_with_a_right_checksum_is_refused_or_means_the_same_to_both(density: float) -> None:
    """Nobody sends one: the decoders themselves must not read or write out of bounds."""
    random, size = np.random.default_rng(round(1000 * density)), 20_000
    settings = spec(size, codes=CODECS["rice"]().codes, min_size=0)
    native, reference, thresholds = Native(settings), Reference(settings), tf.constant([0.1])
    sent = np.flatnonzero(random.random(size) < density)
    given = np.zeros(size, np.float32)
    given[sent] = random.choice([-0.1, 0.1], sent.size)
    message = native.encode(
        add(native, tf.Variable(tf.zeros([size])), tf.constant(given), thresholds), header(thresholds)
    )
    refused = 0
    for _ in range(100):
        words = message.numpy()
        words[random.integers(framing.HEADER, words.size)] ^= np.int32(1) << random.integers(0, 32, dtype=np.int32)
        words[framing.HEADER - 1] = framing.checksum(tf.constant(words)).numpy()
        wrong, sums = tf.constant(words), []
        for backend in (native, reference):
            try:
                sums.append(backend.decode([wrong], thresholds, header(thresholds)[:2]).sum.numpy().tobytes())
            except DAMAGED:
                sums.append(None)
        assert sums[0] == sums[1]
        refused += sums[0] is None
    assert 10 < refused < 100


@pytest.mark.slow
def test_every_wrong_byte_of_a_thousand_messages_is_seen() -> None:
    random, kinds, tried = np.random.default_rng(2015), [CODECS[name]().codes for name in CODECS], 0
    for number in range(MESSAGES):
        backend, thresholds, message = a_message(kinds[number % len(kinds)], random)
        decode = backend.decode
        decode([message, message], thresholds, header(thresholds)[:2])
        dense = message.numpy().tobytes()
        for place in range(len(dense)):
            octets = bytearray(dense)
            octets[place] ^= int(random.integers(1, 256))
            wrong = tf.constant(np.frombuffer(bytes(octets), np.int32))
            with pytest.raises(DAMAGED, match="message of rank 1"):
                decode([message, wrong], thresholds, header(thresholds)[:2])
            tried += 1
    assert tried > 50 * MESSAGES
