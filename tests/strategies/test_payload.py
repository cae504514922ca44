"""Averaging with quantized messages: nothing is lost, sums of int8 are exact, and what it costs is counted."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import SMALL, composed, parameters, run, stepping
from tests.support.marks import quick
from tfscale.collectives.base import gather_bytes, mean_bytes
from tfscale.collectives.in_process import InProcess
from tfscale.config.preflight import check_job
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.strategies.parameter_averaging.payload import BLOCK, KINDS, Payload

SIZE = 2 * BLOCK + 300
"""Three blocks, the last one not full."""


def changes(replicas: int, *, seed: int) -> list[np.ndarray]:
    """Changes of very different sizes from block to block."""
    random = np.random.default_rng(seed)
    scale = np.repeat([1.0, 1e-6, 1e3], BLOCK)[:SIZE]
    return [(random.normal(size=SIZE) * scale).astype(np.float32) for _ in range(replicas)]


def payload(kind: str, replicas: int) -> Payload:
    return Payload(kind, InProcess(replicas=replicas), [tf.zeros([SIZE])] * replicas)


def residuals(of: Payload, replicas: int) -> list[np.ndarray]:
    return [of.state(index)["residual"].numpy() for index in range(replicas)]


def exchanged(of: Payload, own: Sequence[np.ndarray]) -> np.ndarray:
    return of([tf.constant(each) for each in own], tf.zeros([SIZE])).change.numpy()


@pytest.mark.parametrize("replicas", [2, 3, 31])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_sent_waits(kind: str, replicas: int) -> None:
    """Sum over all exchanges: the changes are what was applied plus what waits."""
    ours, wanted, applied = payload(kind, replicas), np.zeros(SIZE), np.zeros(SIZE)
    for seed in range(5):
        own = changes(replicas, seed=seed)
        wanted += np.mean(own, axis=0, dtype=np.float64)
        applied += exchanged(ours, own)
    waits = np.mean(residuals(ours, replicas), axis=0, dtype=np.float64)
    scale = np.repeat([1.0, 1e-6, 1e3], BLOCK)[:SIZE]
    rounding = 1e-5 if kind == "int8" else 1e-2  # halves are rounded as they are added
    assert np.max(np.abs(applied + waits - wanted) / scale) < rounding
    assert np.any(waits), "something does not fit a message"


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_as_near_as_its_type_allows(kind: str) -> None:
    replicas = 4
    own = changes(replicas, seed=7)
    mean = exchanged(payload(kind, replicas), own)
    for block in range(3):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        largest = max(np.max(np.abs(each[part])) for each in own)
        error = np.max(np.abs(mean[part] - np.mean(own, axis=0)[part]))
        assert error <= largest * (0.5 / (127 // replicas) if kind == "int8" else 2**-10) * 1.001


def test_int8_is_exact_integer_arithmetic() -> None:
    """Against the formulas of the module, in NumPy."""
    replicas, own = 3, changes(3, seed=3)
    limit = 127 // replicas
    largest = np.zeros(SIZE, np.float32)
    for block in range(3):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        largest[part] = max(np.max(np.abs(each[part])) for each in own)
    unit = largest / np.float32(limit)
    sums = sum(np.round(each / unit) for each in own)
    assert np.max(np.abs(sums)) <= 127
    np.testing.assert_array_equal(exchanged(payload("int8", replicas), own), unit * sums.astype(np.float32) / 3)


def test_replicas_in_another_order_give_the_same_bits() -> None:
    own = changes(5, seed=11)
    one, other = exchanged(payload("int8", 5), own), exchanged(payload("int8", 5), own[::-1])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros(kind: str) -> None:
    ours = payload(kind, 2)
    assert not np.any(exchanged(ours, [np.zeros(SIZE, np.float32)] * 2))
    assert not np.any(residuals(ours, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_a_change_that_is_not_finite_is_seen_and_leaves_residuals_alone(kind: str, bad: float) -> None:
    ours, own = payload(kind, 2), changes(2, seed=1)
    exchanged(ours, own)
    before = residuals(ours, 2)
    own[1][SIZE - 1] = bad
    assert not np.isfinite(exchanged(ours, own)).any()
    np.testing.assert_array_equal(residuals(ours, 2), before)


def test_int8_has_room_for_few_replicas() -> None:
    payload("int8", 42)
    with pytest.raises(UserError) as raised:
        payload("int8", 43)
    assert str(raised.value) == (
        "strategy.payload=int8 adds the messages of at most 42 replicas, got 43; set strategy.payload=float32"
    )


def test_bytes_are_those_of_the_type() -> None:
    sent = {kind: int(payload(kind, 4).bytes_of_one()) for kind in KINDS}
    units = int(gather_bytes(tf.constant(4 * (3 + 1)), 4))
    assert sent == {"int8": mean_bytes(SIZE, 4) // 4 + units, "float16": mean_bytes(SIZE, 4) // 2 + units}


@pytest.mark.parametrize("kind", quick(KINDS, only=["int8"]))
def test_training_comes_close_to_float32(build_job: Callable[..., Job], kind: str) -> None:
    words = (*SMALL, "train.batch=8", "strategy=local", "strategy.replicas=2", "strategy.every=3")
    plain = parameters(run(build_job(*words), 30))[0]
    job = run(build_job(*words, f"strategy.payload={kind}"), 30)
    ours = parameters(job)[0]
    assert not np.array_equal(ours, plain)
    start = parameters(build_job(*words))[0]
    assert np.linalg.norm(ours - plain) < 0.05 * np.linalg.norm(plain - start)
    assert job.state.strategy.replica_state(0).keys() == {"residual", "skipped_steps"}


def test_one_replica_exchanges_nothing(build_job: Callable[..., Job]) -> None:
    words = (*SMALL, "strategy=local", "strategy.replicas=1")
    plain, ours = (run(build_job(*words, *more), 6) for more in ((), ("strategy.payload=int8",)))
    np.testing.assert_array_equal(parameters(ours)[0], parameters(plain)[0])


@pytest.mark.parametrize("kind", quick(KINDS, only=["float16"]))
def test_the_outer_optimizer_moves_what_was_sent(build_job: Callable[..., Job], kind: str) -> None:
    outer = ("strategy/outer=sgd", "strategy.outer.learning_rate=0.5", "strategy.outer.momentum=0")
    words = (*SMALL, "strategy=local", "strategy.replicas=2", "strategy.every=4", f"strategy.payload={kind}")
    moved, plain = build_job(*words, *outer), build_job(*words)
    start = parameters(plain)[0]
    for _ in itertools.islice(zip(stepping(moved), stepping(plain), strict=False), 4):
        pass
    size = moved.layout.size
    np.testing.assert_allclose(parameters(moved)[0][:size], (0.5 * (start + parameters(plain)[0]))[:size], atol=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("strategy.payload=float16", "strategy.reproducible=true"),
            "strategy.payload must be float32 or int8 with strategy.reproducible=true, got float16",
        ),
        (
            ("strategy.payload=int8", "strategy.replicas=43"),
            "strategy.payload must be float32 or float16 with more than 42 replicas, got int8 and 43",
        ),
        (("strategy.payload=int4",), "strategy.payload must be float32, float16 or int8, got int4"),
    ],
)
def test_wrong_values_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as raised:
        check_job(composed(*SMALL, "strategy=local", *words), processes=1)
    assert said in str(raised.value)


def test_a_sum_that_was_damaged_on_the_way_is_refused(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = build_job(*SMALL, "strategy=local", "strategy.replicas=3", "strategy.every=1", "strategy.payload=int8")
    total = job.collective.total
    damage = tf.one_hot(5, job.layout.size, dtype=tf.int8)
    monkeypatch.setattr(job.collective, "total", lambda vectors: tf.bitwise.bitwise_xor(total(vectors), damage))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the message of rank 0 or another one is damaged"):
        run(job, 1)


def test_a_change_that_is_not_finite_leaves_anchor_and_momentum_alone(build_job: Callable[..., Job]) -> None:
    outer = ("strategy/outer=nesterov", "strategy.outer.learning_rate=0.9", "strategy.outer.momentum=0.3")
    job = run(build_job(*SMALL, "strategy=local", "strategy.every=1", "strategy.payload=int8", *outer), 2)
    strategy, (own, other) = job.state.strategy, [tf.constant(each) for each in parameters(job)]
    before = {name: each.numpy() for name, each in strategy.shared_state().items()}
    broken = strategy.reduce_parameters([own, other * float("nan")], tf.constant(3, tf.int64))
    assert not np.isfinite(broken[: job.layout.size]).any()
    for name in ("anchor", "outer_momentum"):
        np.testing.assert_array_equal(strategy.shared_state()[name], before[name])


def test_a_run_says_what_travels(build_job: Callable[..., Job]) -> None:
    job = build_job(*SMALL, "strategy=local", "strategy.payload=float16")
    assert job.state.strategy.describe().notes == ["changes of the parameters travel as float16"]
