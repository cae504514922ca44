"""The backend contract: both give the same bits, and refuse every damaged message."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.support.compression import CODECS, DAMAGED, add, header, spec, update_of
from tests.support.marks import quick
from tfscale import digest
from tfscale.compression import message as framing
from tfscale.compression.backends.base import Backend, Spec
from tfscale.compression.backends.native import Native
from tfscale.compression.backends.reference import Reference
from tfscale.compression.backends.reference_reading import Reading
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.smallest import Smallest
from tfscale.compression.codecs.word32 import Word32

BACKENDS: tuple[Callable[[Spec], Backend], ...] = (Native, Reference)
NOTHING = tf.constant([7, 0, 5, 0])


def hostile(size: int, seed: int) -> np.ndarray:
    """Contributions of every kind: ordinary, tiny, huge, exactly a threshold, denormal, negative zero."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(size) * 10.0 ** random.integers(-12, 4, size)
    special = [0.0, -0.0, 0.5, -0.5, 1e-45, -1e-40, 4e18, -4e18, np.nextafter(np.float32(0.5), np.float32(0))]
    values[random.random(size) < 0.2] = random.choice(special)
    return values.astype(np.float32)


@pytest.mark.parametrize("momentum", [(0.0, False, False), (0.9, False, True), (0.9, True, True), (0.5, True, False)])
@pytest.mark.parametrize("sizes", [(1,), (64, 65), (5, 70_000, 1, 0, 130)])
@pytest.mark.parametrize("per_tensor", [False, True])
def test_the_kernels_have_the_bits_of_the_reference(
    sizes: tuple[int, ...], momentum: tuple[float, bool, bool], per_tensor: bool
) -> None:
    strength, nesterov, masking = momentum
    settings = spec(*sizes, min_size=4, momentum=strength, nesterov=nesterov, masking=masking, scale=1 / 3)
    _require_equal_bits(settings, per_tensor=per_tensor)


@pytest.mark.parametrize("momentum", quick([0.0, 0.9], only=[0.9]))
@pytest.mark.parametrize("sizes", [(1,), (64, 65), (5, 70_000, 1, 0, 130)])
@pytest.mark.parametrize("levels", quick([2, 3, 127], only=[3, 127]))
def test_the_kernels_have_the_bits_of_the_reference_with_levels(
    levels: int, sizes: tuple[int, ...], momentum: float
) -> None:
    codes = [code for code in Smallest().codes if code.repeats]
    settings = spec(*sizes, min_size=4, momentum=momentum, levels=levels, codes=codes)
    _require_equal_bits(settings, per_tensor=False)


def _require_equal_bits(settings: Spec, *, per_tensor: bool) -> None:
    strength, tensors = settings.momentum, len(settings.layout.sizes)
    size = settings.layout.size
    values = np.linspace(0.3, 0.7, tensors) if per_tensor else [0.5]
    thresholds = tf.constant(values, tf.float32)
    results = []
    for make in BACKENDS:
        backend = make(settings)
        residual = tf.Variable(tf.zeros([size]))
        velocity = tf.Variable(tf.zeros([size])) if strength else None
        seen: list[np.ndarray] = []
        for step in range(6):
            given = hostile(size, step)
            if step in (2, 4):
                given[size // 2] = (np.nan, np.inf)[step // 4]
            update = backend.accumulate(residual, velocity, backend.check(tf.constant(given)), thresholds)
            message = backend.encode(update, header(thresholds))
            decoded = backend.decode([message] * 3, thresholds, header(thresholds)[:2])
            assert not (step in (2, 4) and update.usable)
            seen += [each.numpy() for each in (*update, message, *decoded, residual)]
            seen += [] if velocity is None else [velocity.numpy()]
        results.append(seen)
    assert len(results[0]) > 40
    for native, reference in zip(*results, strict=True):
        assert native.tobytes() == reference.tobytes()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("density", [0.0, 1e-3, 0.05, 0.1, 0.2, 1.0])
@pytest.mark.parametrize("size", [1, 4096, 350_001])
def test_every_code_is_exact_in_both_backends(name: str, density: float, size: int) -> None:
    """More than one block of rice at the largest size, of either kind of divisor."""
    random = np.random.default_rng(size)
    dense = np.where(random.random(size) < density, random.choice([-1.0, 1.0], size), 0.0).astype(np.float32)
    settings = spec(size, codes=CODECS[name]().codes)
    thresholds = tf.constant([0.75])
    messages = []
    for make in BACKENDS:
        backend = make(settings)
        update = add(backend, tf.Variable(tf.zeros([size])), tf.constant(dense), thresholds)
        messages.append(backend.encode(update, header(thresholds)))
    assert messages[0].numpy().tobytes() == messages[1].numpy().tobytes()
    for make in BACKENDS:
        total = make(settings).decode(messages, thresholds, header(thresholds)[:2]).sum
        np.testing.assert_array_equal(total.numpy(), 2 * 0.75 * dense)
    elements = Reading(settings).elements(messages[0]).numpy()
    np.testing.assert_array_equal(elements // 2, np.flatnonzero(dense))


@pytest.mark.parametrize("make", BACKENDS)
def test_gaps_of_every_size_survive(make: Callable[[Spec], Backend]) -> None:
    """Clustered and lonely elements in one block, the last index of a large model among them."""
    size = 2**22
    places = np.unique(np.concatenate([np.arange(40), 100 + 2 ** np.arange(22), [size - 1]]))
    dense = np.zeros(size, np.float32)
    dense[places[places < size]] = -1
    settings = spec(size, codes=Rice().codes)
    thresholds = tf.constant([1.0])
    backend = make(settings)
    message = backend.encode(
        add(backend, tf.Variable(tf.zeros([size])), tf.constant(dense), thresholds), header(thresholds)
    )
    np.testing.assert_array_equal(backend.decode([message], thresholds, header(thresholds)[:2]).sum, dense)


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("name", ["word32", "rice"])
def test_an_element_is_sent_as_often_as_it_holds_the_threshold_but_for_the_levels(
    make: Callable[[Spec], Backend], name: str
) -> None:
    settings, thresholds = spec(5, codes=CODECS[name]().codes, levels=3), tf.constant([0.5])
    backend, residual = make(settings), tf.Variable(tf.zeros([5]))
    update = add(backend, residual, tf.constant([0.4, -0.5, 1.25, -9.0, 0.0]), thresholds)
    np.testing.assert_array_equal(update.sent, [3, 4, 4, 7, 7, 7])
    np.testing.assert_array_equal(residual, np.float32([0.4, 0.0, 0.25, -7.5, 0.0]))
    message = backend.encode(update, header(thresholds))
    decoded = backend.decode([message, message], thresholds, header(thresholds)[:2])
    np.testing.assert_array_equal(decoded.sum, [0.0, -1.0, 2.0, -3.0, 0.0])
    assert decoded.counts.numpy().tolist() == [12]


@pytest.mark.parametrize("name", ["word32", "rice"])
@pytest.mark.parametrize("density", [1e-3, 0.05, 0.5])
def test_lists_with_repeats_are_exact_in_both_backends(name: str, density: float) -> None:
    """More than one block of rice, with elements that stand again across the border of two."""
    random, size = np.random.default_rng(7), 300_001
    quanta = random.integers(-4, 5, size) * (random.random(size) < density)
    settings = spec(size, codes=CODECS[name]().codes, levels=4)
    thresholds = tf.constant([1.0])
    messages = []
    for make in BACKENDS:
        update = add(make(settings), tf.Variable(tf.zeros([size])), tf.constant(quanta, tf.float32), thresholds)
        messages.append(make(settings).encode(update, header(thresholds)))
    assert messages[0].numpy().tobytes() == messages[1].numpy().tobytes()
    for make in BACKENDS:
        total = make(settings).decode(messages, thresholds, header(thresholds)[:2]).sum
        np.testing.assert_array_equal(total, 2 * quanta)


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("wrong", [[4, 4, 4], [4, 5], [4, 2]])
def test_a_list_with_too_many_repeats_or_both_signs_is_refused(
    make: Callable[[Spec], Backend], wrong: list[int]
) -> None:
    settings, thresholds = spec(5, codes=Word32().codes, levels=2), tf.constant([0.5])
    message = make(settings).encode(update_of(1)._replace(sent=tf.constant(wrong)), header(thresholds))
    with pytest.raises(DAMAGED, match=r"order|both signs|more often"):
        make(settings).decode([message], thresholds, header(thresholds)[:2])


def test_rice_is_near_the_entropy_bound() -> None:
    size = 2**22
    for density in (1e-3, 1e-2, 0.1, 0.2):
        hit = np.random.default_rng(1).random(size) < density
        backend = Native(spec(size, codes=Rice().codes))
        given = tf.constant(hit.astype(np.float32))
        update = add(backend, tf.Variable(tf.zeros([size])), given, tf.constant([1.0]))
        bits = 32 * int(tf.size(backend.encode(update, NOTHING)))
        share = hit.mean()
        bound = size * (-share * np.log2(share) - (1 - share) * np.log2(1 - share) + share)
        assert bits / bound < 1.015


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("name", CODECS)
def test_no_wrong_byte_and_no_cut_goes_unseen(make: Callable[[Spec], Backend], name: str) -> None:
    settings = spec(30, 4, codes=CODECS[name]().codes, min_size=5)
    backend, thresholds = make(settings), tf.constant([0.5])
    given = tf.constant(np.random.default_rng(0).standard_normal(34), tf.float32)
    message = backend.encode(add(backend, tf.Variable(tf.zeros([34])), given, thresholds), header(thresholds))
    dense = message.numpy()
    decode = tf.function(lambda other: backend.decode([message, other], thresholds, header(thresholds)[:2]))
    decode = decode.get_concrete_function(tf.TensorSpec([None], tf.int32))
    decode(message)
    wrong = [dense[:length] for length in range(len(dense))]
    for place, flip in itertools.product(range(4 * len(dense)), (1, 0x80, 0xFF)):
        octets = bytearray(dense.tobytes())
        octets[place] ^= flip
        wrong.append(np.frombuffer(bytes(octets), np.int32))
    for each in wrong:
        with pytest.raises(DAMAGED, match="message of rank 1"):
            decode(tf.constant(each))


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize(
    ("field", "said"), [(0, "another step"), (1, "another threshold"), (2, "parameters differ from the others'")]
)
def test_a_message_of_another_state_is_refused(make: Callable[[Spec], Backend], field: int, said: str) -> None:
    backend, thresholds = make(spec(10)), tf.constant([0.5])
    update = add(backend, tf.Variable(tf.zeros([10])), tf.ones([10]), thresholds)
    good = header(thresholds)
    other = tf.tensor_scatter_nd_add(good, [[field]], [1])
    messages = [backend.encode(update, good), backend.encode(update, other)]
    with pytest.raises(DAMAGED, match=said):
        backend.decode(messages, thresholds, good[:2])


@pytest.mark.parametrize("make", BACKENDS)
def test_one_skip_message_skips_the_step(make: Callable[[Spec], Backend]) -> None:
    backend, thresholds = make(spec(6)), tf.constant([0.5])
    messages = []
    for given in (tf.ones([6]), tf.constant([1.0, np.nan, 0, 0, 0, 0])):
        residual = tf.Variable(tf.zeros([6]))
        update = add(backend, residual, given, thresholds)
        messages.append(backend.encode(update, header(thresholds)))
    assert messages[1].shape == [framing.HEADER]
    decoded = backend.decode(messages, thresholds, header(thresholds)[:2])
    assert bool(decoded.skip)
    assert not decoded.sum.numpy().any()
    assert not residual.numpy().any(), "nothing of a contribution that is not usable is used"


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("thresholds", [[0.5], [0.5, 0.75]])
@pytest.mark.parametrize("levels", [1, 3])
def test_restore_adds_back_what_accumulate_has_taken(
    make: Callable[[Spec], Backend], name: str, thresholds: list[float], levels: int
) -> None:
    codes = [code for code in CODECS[name]().codes if code.repeats or levels == 1] or Rice().codes
    backend, limits = make(spec(3, 4, codes=codes, levels=levels)), tf.constant(thresholds)
    residual, given = tf.Variable(tf.zeros([7])), np.float32([1.0, -2.0, 0.25, 3.0, -0.75, 0.5, 0.0])
    message = backend.encode(add(backend, residual, tf.constant(given), limits), NOTHING)
    left = residual.numpy()
    assert (left != given).any()
    backend.restore(residual, message, limits, tf.constant(False))
    np.testing.assert_array_equal(residual.numpy(), left)
    backend.restore(residual, message, limits, tf.constant(True))
    np.testing.assert_array_equal(residual.numpy(), given)


@pytest.mark.parametrize("make", BACKENDS)
def test_a_skip_message_and_a_proposal_have_taken_nothing(make: Callable[[Spec], Backend]) -> None:
    backend, residual = make(spec(3)), tf.Variable(tf.ones([3]))
    for update in (update_of(3, usable=False), update_of(3)):
        message = backend.encode(update, NOTHING, tf.constant([2.0]))
        backend.restore(residual, message, tf.constant([0.0]), tf.constant(True))
    np.testing.assert_array_equal(residual.numpy(), tf.ones([3]))


def test_both_agree_on_the_mean_of_all_proposals() -> None:
    settings, uninitialized = spec(5, 2, 6, 7, min_size=4, scale=0.5), tf.zeros([4])
    proposals = ([0.1, 0.0, 0.7, 0.0], [0.3, 0.0, 0.1, 0.0])
    results = []
    for make in BACKENDS:
        backend = make(settings)
        messages = [
            backend.encode(update_of(4, 1.0, 3.0), header(uninitialized), tf.constant(each)) for each in proposals
        ]
        decoded = backend.decode(messages, uninitialized, header(uninitialized)[:2])
        results.append([each.numpy().tobytes() for each in (*messages, *decoded)])
        np.testing.assert_allclose(decoded.proposed, [0.2, 0.4, 0.4, 0.4], rtol=1e-6)
        np.testing.assert_array_equal(decoded.sum[5:7], [1.0, 3.0])
    assert results[0] == results[1]


@pytest.mark.parametrize("make", BACKENDS)
def test_proposals_and_elements_do_not_mix(make: Callable[[Spec], Backend]) -> None:
    backend = make(spec(3, 2))
    for thresholds in (tf.constant([0.0, 0.0]), tf.constant([0.5, 0.5])):
        packed = backend.encode(update_of(2), header(thresholds))
        proposed = backend.encode(update_of(2), header(thresholds), tf.constant([1.0, 1.0]))
        too_few = backend.encode(update_of(2), header(thresholds), tf.constant([1.0]))
        right, wrong = (packed, proposed) if thresholds[0] > 0 else (proposed, packed)
        assert not bool(backend.decode([right], thresholds, header(thresholds)[:2]).skip)
        for each in (wrong, too_few):
            with pytest.raises(DAMAGED, match="message of rank 0"):
                backend.decode([each], thresholds, header(thresholds)[:2])


def test_sums_do_not_depend_on_the_order_of_the_replicas() -> None:
    random, thresholds = np.random.default_rng(3), tf.constant([1e-3])
    for make in BACKENDS:
        backend = make(spec(500, scale=1 / 7))
        messages = []
        for _ in range(7):
            given = tf.constant(random.choice([-1.0, 0.0, 1.0], 500), tf.float32)
            update = add(backend, tf.Variable(tf.zeros([500])), given, thresholds)
            messages.append(backend.encode(update, header(thresholds)))
        forward = backend.decode(messages, thresholds, header(thresholds)[:2]).sum
        backward = backend.decode(messages[::-1], thresholds, header(thresholds)[:2]).sum
        assert forward.numpy().tobytes() == backward.numpy().tobytes()


def test_digests_differ_where_parameters_do() -> None:
    random = np.random.default_rng(0)
    parameters = [random.standard_normal(shape).astype(np.float32) for shape in ((3, 5), (70_000,), (1,))]
    seen = set()
    for change in (None, (0, 0, 1e-7), (1, 69_999, 1.0), (2, 0, -2.0)):
        changed = [each.copy() for each in parameters]
        if change:
            changed[change[0]].flat[change[1]] += change[2]
        native, reference = (
            int(make([tf.constant(each) for each in changed]))
            for make in (digest.choose(["CPU:0"]), digest.reference_digest)
        )
        assert native == reference
        seen.add(native)
    assert len(seen) == 4


def test_a_residual_ratio_is_the_largest_residual_over_its_threshold() -> None:
    for peak, wanted in ((1.0, 1.0), (0.3, 0.25), (9.0, 8.0), (10.1, 10.0), (0.0, 2.0**-32), (1e30, 1.75 * 2.0**31)):
        word = framing.residual_ratio(tf.constant([0.5 * peak, 0.0]), tf.constant([0.5]))
        assert float(framing.ratio(word)) == pytest.approx(wanted, rel=0.02)
    backend, thresholds = Native(spec(4)), tf.constant([0.5])
    update = add(backend, tf.Variable(tf.zeros([4])), tf.ones([4]), thresholds)
    messages = [
        backend.encode(update, header(thresholds, residual_ratio=residual_ratio)) for residual_ratio in (3, 255, 7)
    ]
    for make in BACKENDS:
        assert int(make(spec(4)).decode(messages, thresholds, header(thresholds)[:2]).residual_ratio) == 255


@pytest.mark.parametrize("make", BACKENDS)
def test_a_sum_beyond_all_bounds_leaves_its_element_and_sends_nothing(make: Callable[[Spec], Backend]) -> None:
    backend, residual = make(spec(3)), tf.Variable([8e18, 0.0, 1.0])
    update = add(backend, residual, tf.constant([8e18, 2.0, 0.0]), tf.constant([0.5]))
    assert not bool(update.usable)
    assert update.sent.shape == [0]
    np.testing.assert_array_equal(residual.numpy(), np.float32([8e18, 2.0, 1.0]))


@pytest.mark.slow
def test_both_agree_bit_for_bit_inside_a_function_on_any_number_of_proposals() -> None:
    """The graph optimizer turns divisions by constants into products."""
    uninitialized, random = tf.zeros([50]), np.random.default_rng(0)
    settings = spec(*[3] * 50)
    for replicas in (3, 5, 7):
        proposals = [tf.constant(random.random(50), tf.float32) for _ in range(replicas)]
        agreed = set()
        for make in BACKENDS:
            backend = make(settings)
            messages = [backend.encode(update_of(50), header(uninitialized), each) for each in proposals]
            decode = tf.function(
                lambda *messages, c=backend: c.decode(messages, uninitialized, header(uninitialized)[:2]).proposed
            )
            agreed.add(decode(*messages).numpy().tobytes())
        assert len(agreed) == 1


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("proposal", [np.nan, np.inf, -0.5])
def test_a_proposal_that_cannot_be_a_threshold_is_refused(make: Callable[[Spec], Backend], proposal: float) -> None:
    backend, uninitialized = make(spec(3)), tf.zeros([1])
    message = backend.encode(update_of(1), header(uninitialized), tf.constant([proposal], tf.float32))
    with pytest.raises(DAMAGED, match="message of rank 0"):
        backend.decode([message], uninitialized, header(uninitialized)[:2])
