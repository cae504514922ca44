"""The codec contract, over all codecs: decoding gives back the quantised input exactly."""

from importlib.resources import files

import numpy as np
import pytest
import tensorflow as tf

from tfscale.codecs import base
from tfscale.codecs.bitmap import Bitmap
from tfscale.codecs.smallest import Smallest
from tfscale.codecs.word32 import Word32

CODECS = {"word32": Word32, "bitmap": Bitmap, "smallest": Smallest}
SIZES = (1, 2, 15, 16, 17, 33, 1000)
THRESHOLD = tf.constant(0.5)


def quantised(dense: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """What a codec must give back, in plain NumPy."""
    return np.where(np.abs(dense) >= threshold, np.sign(dense), 0).astype(np.float32)


def test_every_shipped_codec_is_in_the_table() -> None:
    folder = files("tfscale.conf").joinpath("strategy", "codec")
    assert {entry.name.removesuffix(".yaml") for entry in folder.iterdir()} == CODECS.keys()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", [0.0, 0.01, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("name", CODECS)
def test_decode_inverts_encode(name: str, density: float, size: int) -> None:
    random = np.random.default_rng(size)
    dense = random.standard_normal(size).astype(np.float32)
    dense = np.where(random.random(size) < density, np.sign(dense) * (0.5 + np.abs(dense)), 0.4 * np.tanh(dense))
    message = CODECS[name]().encode(tf.constant(dense, tf.float32), THRESHOLD)
    assert message.dtype == tf.int32
    np.testing.assert_array_equal(CODECS[name]().decode(message, size).numpy(), quantised(dense))
    assert int(base.count(message)) == np.count_nonzero(quantised(dense))
    assert float(tf.bitcast(message[2], tf.float32)) == 0.5


@pytest.mark.parametrize("name", CODECS)
def test_decode_inverts_encode_inside_a_function(name: str) -> None:
    codec = CODECS[name]()
    round_trip = tf.function(lambda dense: codec.decode(codec.encode(dense, THRESHOLD), 100))
    for seed in range(3):
        dense = np.random.default_rng(seed).standard_normal(100).astype(np.float32)
        np.testing.assert_array_equal(round_trip(tf.constant(dense)).numpy(), quantised(dense))


@pytest.mark.parametrize("name", CODECS)
def test_the_threshold_itself_is_sent(name: str) -> None:
    dense = tf.constant([0.5, -0.5, np.nextafter(np.float32(0.5), np.float32(0))])
    assert CODECS[name]().decode(CODECS[name]().encode(dense, THRESHOLD), 3).numpy().tolist() == [
        1.0,
        -1.0,
        0.0,
    ]


@pytest.mark.parametrize("name", CODECS)
def test_nan_is_never_sent_and_infinity_is(name: str) -> None:
    dense = tf.constant([np.nan, np.inf, -np.inf, 0.0])
    assert CODECS[name]().decode(CODECS[name]().encode(dense, THRESHOLD), 4).numpy().tolist() == [
        0.0,
        1.0,
        -1.0,
        0.0,
    ]


@pytest.mark.parametrize("name", CODECS)
def test_an_empty_message_still_has_its_header(name: str) -> None:
    message = CODECS[name]().encode(tf.zeros([40]), THRESHOLD)
    assert int(tf.size(message)) >= base.HEADER
    assert int(base.count(message)) == 0
    assert not bool(base.is_void(message))


@pytest.mark.parametrize("name", CODECS)
def test_a_void_message_decodes_to_zeros(name: str) -> None:
    message = base.void(THRESHOLD)
    assert bool(base.is_void(message))
    assert not CODECS[name]().decode(message, 40).numpy().any()


@pytest.mark.parametrize("name", CODECS)
def test_an_unknown_format_is_refused(name: str) -> None:
    message = tf.constant([99, 1, 0, 5])
    with pytest.raises(tf.errors.InvalidArgumentError, match="unknown format"):
        CODECS[name]().decode(message, 40)


@pytest.mark.parametrize(("density", "code"), [(0.01, base.WORD32), (0.5, base.BITMAP)])
def test_smallest_takes_the_smaller(density: float, code: int) -> None:
    dense = tf.constant((np.random.default_rng(0).random(4096) < density).astype(np.float32))
    message = Smallest().encode(dense, THRESHOLD)
    assert int(message[0]) == code
    lengths = [int(tf.size(each().encode(dense, THRESHOLD))) for each in (Word32, Bitmap)]
    assert int(tf.size(message)) == min(lengths)


def test_word32_spends_one_word_an_element() -> None:
    dense = tf.constant([0.0, 1.0, 0.0, -1.0])
    assert Word32().encode(dense, THRESHOLD).numpy()[base.HEADER :].tolist() == [1 << 1, (3 << 1) | 1]


def test_bitmap_spends_two_bits_an_element() -> None:
    dense = tf.constant([1.0, -1.0] + [0.0] * 14 + [-1.0])
    assert Bitmap().encode(dense, THRESHOLD).numpy()[base.HEADER :].tolist() == [0b1001, 0b10]
