"""The codes: the length and the layout of each. That all are exact is in the backends' contract."""

from importlib.resources import files

import numpy as np
import pytest
import tensorflow as tf

from tfscale.compression.codecs import base, rice
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.smallest import Smallest
from tfscale.compression.codecs.word32 import Word32

CODECS = {"word32": Word32, "bitmap": Bitmap, "rice": Rice, "smallest": Smallest}


def elements_of(*elements: int) -> tf.Tensor:
    """Indices, negative where the sign is."""
    return tf.constant([abs(each) * 2 + (each < 0) for each in elements], tf.int64)


def test_every_shipped_codec_is_in_the_table() -> None:
    folder = files("tfscale.conf").joinpath("strategy", "codec")
    assert {entry.name.removesuffix(".yaml") for entry in folder.iterdir()} == CODECS.keys()


def test_every_code_has_a_number_of_its_own() -> None:
    assert sorted(code.number for code in Smallest().codes) == [1, 2, 3]


@pytest.mark.parametrize("name", ["word32", "bitmap", "rice"])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.3, 1.0])
def test_decode_inverts_encode(name: str, density: float) -> None:
    code, size = CODECS[name](), 5000
    random = np.random.default_rng(0)
    positions = np.flatnonzero(random.random(size) < density)
    elements = tf.constant(positions * 2 + random.integers(0, 2, len(positions)), tf.int64)
    payload = code.encode(elements, size)
    assert payload.dtype == tf.int32
    assert int(tf.size(payload)) == int(code.length(elements, size))
    np.testing.assert_array_equal(code.decode(payload, tf.size(elements, tf.int64), size), elements)


def test_word32_spends_one_word_an_element() -> None:
    assert Word32().encode(elements_of(1, -3), 4).numpy().tolist() == [1 << 1, (3 << 1) | 1]


def test_bitmap_spends_two_bits_an_element() -> None:
    assert Bitmap().encode(elements_of(0, -1, -16), 17).numpy().tolist() == [0b1001, 0b10]


def test_rice_spends_what_its_layout_says() -> None:
    """Four gaps of 7, 7, 8 and 10: mean 8, so the divisor is 6: quotients 1 1 1 1, digits 0 0 1 2, low bits 1 1 0 0."""
    elements = elements_of(5, 13, -21, 30, 41)
    digits = 0 + 0 * 3 + 1 * 9 + 2 * 27
    low = 0b10 | 0b11 << 2 | 0b00 << 4 | 0b00 << 6
    assert Rice().encode(elements, 100).numpy().tolist() == [10, 5 << 24 | 1, low, digits, 0b10101010]


def test_rice_takes_the_divisor_that_suits_the_mean_gap() -> None:
    random = np.random.default_rng(0)
    for density in (0.3, 0.05, 0.01, 1e-3):
        positions = np.flatnonzero(random.random(200_000) < density)
        elements = tf.constant(positions * 2, tf.int64)
        chosen = int(tf.size(Rice().encode(elements, 200_000)))
        gaps = np.diff(positions) - 1
        others = []
        for code in rice.CODES:
            low, digit = code // 2 - code % 2, code % 2
            divisor = (3 if digit else 1) << low
            others.append((len(gaps) * (low + 2 + 1.6 * digit) + (gaps // divisor).sum()) / 32)
        assert chosen <= 1.01 * min(others) + 6


@pytest.mark.parametrize(
    ("payload", "count", "said"),
    [
        ([10], 2, "table that is cut off"),
        ([10, 1 << 24 | 1, 0, 1], 2, "unknown divisor"),
        ([10, 0 << 24 | 1, 0], 2, "length that its table does not explain"),
        ([10, 0 << 24 | 1, 0, 0], 2, "unary planes of other lengths"),
        ([10, 0 << 24 | 1, 0, -(2**31)], 2, "gaps that lead out of the model"),
    ],
)
def test_rice_refuses_what_it_did_not_write(payload: list[int], count: int, said: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        Rice().decode(tf.constant(payload), tf.constant(count, tf.int64), 30)


def test_words_keep_their_thirty_two_bits() -> None:
    words = tf.constant([0, 1, 2**31, 2**32 - 1], tf.int64)
    np.testing.assert_array_equal(base.from_int32(base.to_int32(words)), words)
