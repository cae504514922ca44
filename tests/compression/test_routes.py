"""A sum that replicas divide among themselves has the bits of the sum that each makes of all messages."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tests.support.compression import DAMAGED, add, header, spec, update_of
from tests.support.marks import quick
from tfscale.collectives.bundles import pack, unpack
from tfscale.collectives.in_process import InProcess
from tfscale.collectives.traffic import SCATTER_FROM
from tfscale.compression.backends.base import Backend, Spec
from tfscale.compression.backends.native import Native
from tfscale.compression.backends.reference import Reference
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.smallest import Smallest
from tfscale.compression.routes import Arrived, Divided, Gathered, divides
from tfscale.compression.stopwatch import Stopwatch

BACKENDS: tuple[Callable[[Spec], Backend], ...] = (Native, Reference)
THRESHOLDS = tf.constant([0.5])


def contributions(size: int, replicas: int, density: float = 0.3) -> list[tf.Tensor]:
    random = np.random.default_rng(size)
    return [
        tf.constant((2 * random.standard_normal(size) * (random.random(size) < density)).astype(np.float32))
        for _ in range(replicas)
    ]


def arrived(backend: Backend, parts: int, messages: Sequence[tf.Tensor], thresholds: tf.Tensor = THRESHOLDS) -> Arrived:
    """Exchanges messages inside a function, as a step does."""
    route = (Divided if parts else Gathered)(
        collective=InProcess(replicas=len(messages)), backend=backend, stopwatch=Stopwatch("exchange", "decode")
    )
    fields = header(thresholds, digest=0, residual_ratio=0)
    return tf.function(lambda *given: route(given, thresholds, fields))(*messages)


def bits(outcome: Arrived) -> list[bytes]:
    return [each.numpy().tobytes() for each in (*outcome.decoded, outcome.skipped)]


@pytest.mark.parametrize(
    ("replicas", "levels", "sizes", "per_tensor"),
    quick(
        [
            *((1, 1, (7, 5), False), (2, 3, (5, 30_000, 1, 0, 130), True), (2, 1, (1,), False)),
            *((5, 3, (7, 5), False), (8, 2, (300, 40), True), (3, 127, (500,), False)),
        ],
        only=[(1, 1, (7, 5), False), (2, 3, (5, 30_000, 1, 0, 130), True)],
    ),
)
def test_both_routes_and_both_backends_have_the_same_bits(
    replicas: int, levels: int, sizes: tuple[int, ...], per_tensor: bool
) -> None:
    codes = [code for code in Smallest().codes if code.repeats or levels == 1]
    thresholds = tf.constant(np.linspace(0.3, 0.7, len(sizes)) if per_tensor else [0.5], tf.float32)
    outcomes, residuals, lengths = [], [], []
    for make in BACKENDS:
        for parts in (0, replicas):
            settings = spec(*sizes, min_size=4, levels=levels, codes=codes, scale=1 / 3, parts=parts)
            backend, size = make(settings), settings.layout.size
            messages = []
            for number, given in enumerate(contributions(size, replicas)):
                residual, fields = (
                    tf.Variable(tf.zeros([size])),
                    header(thresholds, residual_ratio=130 + number + (2 << 8)),
                )
                messages.append(backend.encode(add(backend, residual, given, thresholds), fields))
                backend.restore(residual, messages[-1], thresholds, tf.constant(number == 0))
                residuals.append((number, residual.numpy().tobytes()))
            outcome = arrived(backend, parts, messages, thresholds)
            outcomes.append(bits(outcome))
            lengths.append([int(outcome.bytes), float(outcome.words), float(outcome.sum_words)])
    assert lengths[:2] == lengths[2:], "of both backends"
    assert all(each == outcomes[0] for each in outcomes)
    assert len(set(residuals)) == replicas or sizes == (1,)
    assert outcomes[0][-1] == np.int64(2 * replicas).tobytes(), "steps that each has skipped alone"


def test_the_bytes_of_a_divided_sum_are_those_of_bundles_to_others_and_of_sums_to_all() -> None:
    backend = Native(spec(1000, parts=4))
    bundles = [
        backend.encode(add(backend, tf.Variable(tf.zeros([1000])), given, THRESHOLDS), header(THRESHOLDS))
        for given in contributions(1000, 4)
    ]
    outcome = arrived(backend, 4, bundles)
    to_others = sum(
        int(tf.size(message))
        for rank, bundle in enumerate(bundles)
        for receiver, message in enumerate(unpack(bundle, 4))
        if receiver != rank
    )
    assert float(outcome.words) == to_others / 4
    assert int(outcome.bytes) == 4 * to_others + 3 * 4 * round(4 * float(outcome.sum_words))


@pytest.mark.parametrize("make", quick([*BACKENDS], only=[Native]))
def test_one_replica_that_cannot_use_its_gradient_makes_all_skip(make: Callable[[Spec], Backend]) -> None:
    backend = make(spec(6, 2, min_size=3, parts=2))
    bundles = []
    for given in (tf.ones([8]), tf.constant([1.0, np.nan, 0, 0, 0, 0, 0, 0])):
        residual = tf.Variable(tf.zeros([8]))
        bundles.append(backend.encode(add(backend, residual, given, THRESHOLDS), header(THRESHOLDS)))
    outcome = arrived(backend, 2, bundles)
    assert bool(outcome.decoded.skip)
    assert not outcome.decoded.sum.numpy().any()
    assert not outcome.decoded.counts.numpy().any()


@pytest.mark.parametrize("count", quick([1, 2], only=[1]))
def test_proposals_are_those_of_all_replicas(count: int) -> None:
    uninitialized, outcomes = tf.zeros([3]), []
    for make in BACKENDS[:count]:
        for parts in (0, 2):
            backend = make(spec(5, 2, 6, min_size=4, scale=0.5, parts=parts))
            messages = [
                backend.encode(update_of(3, 1.0, 3.0), header(uninitialized), tf.constant(proposal))
                for proposal in ([0.1, 0.0, 0.7], [0.3, 0.0, 0.1])
            ]
            outcome = arrived(backend, parts, messages, uninitialized)
            np.testing.assert_allclose(outcome.decoded.proposed, [0.2, 0.4, 0.4], rtol=1e-6)
            np.testing.assert_array_equal(outcome.decoded.sum[5:7], [1.0, 3.0])
            outcomes.append(bits(outcome))
    assert all(each == outcomes[0] for each in outcomes)


@pytest.mark.parametrize("make", quick([*BACKENDS], only=[Native]))
def test_sums_are_written_though_the_code_of_messages_cannot_repeat(make: Callable[[Spec], Backend]) -> None:
    backend = make(spec(9, codes=Bitmap().codes, parts=2))
    update = add(backend, tf.Variable(tf.zeros([9])), tf.ones([9]), THRESHOLDS)
    bundles = [backend.encode(update, header(THRESHOLDS))] * 2
    np.testing.assert_array_equal(arrived(backend, 2, bundles).decoded.sum, np.full(9, 1.0, np.float32))


@pytest.mark.parametrize("make", BACKENDS)
def test_no_wrong_byte_and_no_cut_of_a_bundle_or_a_sum_goes_unseen(make: Callable[[Spec], Backend]) -> None:
    backend, fields = make(spec(30, 4, min_size=5, parts=2)), header(THRESHOLDS)
    update = add(backend, tf.Variable(tf.zeros([34])), contributions(34, 1)[0], THRESHOLDS)
    bundle = backend.encode(update, fields)
    received = pack([unpack(bundle, 2)[1]] * 2)
    merged = backend.merge(received, 1, THRESHOLDS, fields[:2])
    other = backend.merge(pack([unpack(bundle, 2)[0]] * 2), 0, THRESHOLDS, fields[:2])
    sums = [
        backend.encode_sum(each, part, tf.constant(9, tf.int64), fields) for part, each in enumerate((other, merged))
    ]
    any_length = tf.TensorSpec([None], tf.int32)
    merge = tf.function(lambda each: backend.merge(each, 1, THRESHOLDS, fields[:2])).get_concrete_function(any_length)
    read = tf.function(lambda each: backend.read_sums([sums[0], each], merged, THRESHOLDS, fields[:2]))
    read = read.get_concrete_function(any_length)
    for good, look in ((received, merge), (sums[1], read)):
        look(good)
        words = good.numpy()
        wrong = [words[:length] for length in range(len(words))]
        for place in range(4 * len(words)):
            octets = bytearray(words.tobytes())
            octets[place] ^= 0x41
            wrong.append(np.frombuffer(bytes(octets), np.int32))
        for each in wrong:
            with pytest.raises(DAMAGED, match=r"tfscale: (the message of rank|a bundle)"):
                look(tf.constant(each))


@pytest.mark.parametrize("make", BACKENDS)
def test_elements_of_another_part_are_refused(make: Callable[[Spec], Backend]) -> None:
    backend, fields = make(spec(30, parts=2)), header(THRESHOLDS)
    update = add(backend, tf.Variable(tf.zeros([30])), tf.ones([30]), THRESHOLDS)
    first, second = unpack(backend.encode(update, fields), 2)
    with pytest.raises(DAMAGED, match=r"message of rank 1.*another part"):
        backend.merge(pack([first, second]), 0, THRESHOLDS, fields[:2])
    merged = [
        backend.merge(pack([part] * 2), number, THRESHOLDS, fields[:2]) for number, part in enumerate((first, second))
    ]
    sums = [backend.encode_sum(each, number, tf.constant(0, tf.int64), fields) for number, each in enumerate(merged)]
    with pytest.raises(DAMAGED, match=r"message of rank 0.*another part"):
        backend.read_sums(sums[::-1], merged[0], THRESHOLDS, fields[:2])


def test_the_number_of_replicas_decides_unless_it_is_said_or_parts_are_as_long_as_the_whole() -> None:
    codes, bitmap = Smallest().codes, Bitmap().codes
    assert [divides("auto", each, codes, 0, 100) for each in (2, SCATTER_FROM - 1, SCATTER_FROM)] == [
        False,
        False,
        True,
    ]
    assert divides("scatter", 2, codes, 0, 100)
    assert not divides("gather", 1000, codes, 0, 100)
    assert not divides("auto", 1000, bitmap, 0, 100)
    assert not divides("auto", 1000, codes, 1, 100), "each of a thousand parts has all dense values"
