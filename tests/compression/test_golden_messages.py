"""One message of every format, byte for byte: processes of different versions never read each other's otherwise.

The bytes were written at commit ac13637. A change here is a change of the format.
"""

from collections.abc import Callable

import pytest
import tensorflow as tf

from tests.support.compression import CODECS, add, header, spec, update_of
from tfscale.compression.backends.base import Backend, Spec
from tfscale.compression.backends.native import Native
from tfscale.compression.backends.reference import Reference

BACKENDS: tuple[Callable[[Spec], Backend], ...] = (Native, Reference)
SIZES = (10, 3)
"""Elements of a sparse and of a dense tensor."""

CONTRIBUTION = [0.5, -0.75, 0.1, 0.0, 2.0, -0.5, 0.25, 0.0, 0.6, -1.0, 1.5, -0.125, 0.75]
DENSE_VALUES = "0000c03f000000be0000403f"
"""The last three, as float32."""

ENCODED = {
    "word32": (
        "01820000070000000000003f06000000050000005c32a181"
        "0000000003000000080000000b0000001000000013000000"
    ),
    "bitmap": "02820000070000000000003f0600000005000000d709160609090900",
    "rice": "03820000070000000000003f0600000005000000ab70834600000000010000001500000099010000",
}  # fmt: skip
SKIP = "00820000070000000000003f000000000500000005a5aba0"
PROPOSAL = "0482000007000000b1ad0e7a0000000005000000b7e7c73a" + "0000803e00000000"


def hexadecimal(message: tf.Tensor) -> str:
    return message.numpy().tobytes().hex()


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("name", ENCODED)
def test_sparse_elements_have_the_bytes_of_their_code(name: str, make: Callable[[Spec], Backend]) -> None:
    backend, thresholds = make(spec(*SIZES, min_size=4, codes=CODECS[name]().codes)), tf.constant([0.5])
    update = add(backend, tf.Variable(tf.zeros([sum(SIZES)])), tf.constant(CONTRIBUTION), thresholds)
    assert hexadecimal(backend.encode(update, header(thresholds))) == ENCODED[name] + DENSE_VALUES


@pytest.mark.parametrize("make", BACKENDS)
def test_a_skip_message_is_a_header(make: Callable[[Spec], Backend]) -> None:
    update = update_of(2, *CONTRIBUTION[10:], usable=False)
    message = make(spec(*SIZES, min_size=4)).encode(update, header(tf.constant([0.5])))
    assert hexadecimal(message) == SKIP


@pytest.mark.parametrize("make", BACKENDS)
def test_a_proposal_has_its_thresholds_before_the_dense_values(make: Callable[[Spec], Backend]) -> None:
    """Two thresholds, one a tensor, under the checksum of two that are uninitialized."""
    update, proposal = update_of(2, *CONTRIBUTION[10:]), tf.constant([0.25, 0.0])
    message = make(spec(*SIZES, min_size=4)).encode(update, header(tf.zeros([2])), proposal)
    assert hexadecimal(message) == PROPOSAL + DENSE_VALUES
