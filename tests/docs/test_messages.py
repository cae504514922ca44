"""The page on messages: its decoder reads what the codecs write."""

import runpy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.pages import ROOT, blocks
from tfscale.compression import message
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.word32 import Word32

SIZE = 300_000


@pytest.fixture(scope="module")
def decode(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    (block,) = (each for each in blocks(ROOT / "docs" / "messages.md") if each.path is not None)
    place = tmp_path_factory.mktemp("page") / "decode.py"
    place.write_text(block.text)
    return runpy.run_path(str(place))["decode"]


@pytest.mark.parametrize("code", [Word32(), Bitmap(), Rice()], ids=lambda code: type(code).__name__)
@pytest.mark.parametrize("count", [0, 1, 2, 150, 3_000, 40_000])
def test_the_decoder_of_the_page_reads_what_a_codec_writes(
    decode: Callable[..., dict[str, Any]], code: Any, count: int
) -> None:
    random = np.random.default_rng(count)
    indices = np.sort(random.choice(SIZE, count, replace=False))
    negative = random.integers(0, 2, count)
    dense = [1.5, -2.0]
    payload = code.encode(tf.constant(indices * 2 + negative, tf.int64), SIZE)
    threshold = tf.bitcast(tf.constant(0.25), tf.int32)
    header = tf.stack([7, threshold, 1234, 140])
    whole = tf.concat([payload, tf.bitcast(tf.constant(dense), tf.int32)], axis=0)
    words = message.frame(code.number, header, tf.constant(count), whole).numpy().view(np.uint32).tolist()
    read = decode(words, SIZE, dense=len(dense))
    assert read["elements"] == list(zip(indices.tolist(), (1 - 2 * negative).tolist(), strict=True))
    got = [read[name] for name in ("format", "step", "threshold", "count", "digest", "ratio")]
    assert got == [code.number, 7, 0.25, count, 1234, 140]


def test_a_flipped_bit_is_found_by_the_decoder(decode: Callable[..., dict[str, Any]]) -> None:
    whole = message.frame(1, tf.stack([7, 0, 0, 0]), tf.constant(1), tf.constant([8]))
    words = whole.numpy().view(np.uint32).tolist()
    assert decode(words, SIZE)["elements"] == [(4, 1)]
    with pytest.raises(AssertionError):
        decode([*words[:6], words[6] ^ 2], SIZE)
