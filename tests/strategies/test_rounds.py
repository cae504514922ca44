"""Sharing in rounds of several steps: nothing lost, replicas agree after each, and the known rules it is made of."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import SHARING, SMALL, composed, of_replica, parameters, run, stepping
from tests.support.marks import quick
from tfscale.collectives.in_process import InProcess
from tfscale.compression.codecs.smallest import Smallest
from tfscale.compression.thresholds import Adaptive, Fixed, TargetDensity, Threshold
from tfscale.config.preflight import check_job
from tfscale.data.base import Shard, Split
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.strategies.gradient_sharing.strategy import GradientSharing
from tfscale.strategies.outer_optimizer import OuterOptimizer
from tfscale.vectors import Layout

REPLICAS, EVERY = 3, 4
DENSE = ("strategy.warmup=1000000",)
BATCH_NORM = ("data=digits", "model=cnn", "model.filters=[2]", "train.batch=8")


def rounds(threshold: Threshold, size: int, **settings: object) -> GradientSharing:
    """Three replicas in this process, four steps a round, all parameters zero."""
    values = {
        "codec": Smallest(),
        "per_tensor": False,
        "shares": "updates",
        "every": EVERY,
        "outer": OuterOptimizer(learning_rate=1.0, momentum=0.0, nesterov=False),
        "combine": "mean",
        "levels": 1,
        "residual_decay": 1.0,
        "min_size": 0,
        "clip_norm": None,
        "clip_residual": None,
        "clip_every": 1,
        "warmup": 0,
        "flush_every": None,
        "delay": 0,
        "momentum": 0.0,
        "nesterov": False,
        "masking": False,
        "auto": False,
        "group": 1,
        "reduce": "gather",
        "kernel": "native",
        **settings,
    }
    strategy = GradientSharing(collective=InProcess(replicas=REPLICAS), threshold=threshold, **values)
    strategy.build([tf.zeros([size])] * REPLICAS, Layout(names=("a",), sizes=(size,)), RATE.read_value)
    return strategy


RATE = tf.Variable(0.1)


def exchange(strategy: GradientSharing, own: list[np.ndarray], number: int) -> np.ndarray:
    """Ends round `number` with these parameters; returns those that all continue with."""
    given = [tf.constant(each, tf.float32) for each in own]
    return strategy.reduce_parameters(given, tf.constant(EVERY * (number + 1), tf.int64)).numpy()


def residuals(strategy: GradientSharing) -> np.ndarray:
    own = [strategy.replica_state(index)["residual"].numpy() for index in range(REPLICAS)]
    return np.sum(own, axis=0, dtype=np.float64)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kernel": "reference"},
        {"levels": 3},
        {"delay": 1},
        {"warmup": 10},
        {"flush_every": 13},
        {"clip_norm": 5.0},
    ],
    ids=str,
)
def test_what_was_applied_and_what_waits_is_what_was_changed(settings: dict[str, object]) -> None:
    """The mean of all changes, in float64; skipped rounds, and steps that are not multiples of a round, among them."""
    strategy, size, last = rounds(TargetDensity(initial=None, density=0.01, ramp=0, gain=1.0), 900, **settings), 900, 40
    random, shared, changed = np.random.default_rng(0), np.zeros(900, np.float32), np.zeros(900)
    for number in range(last):
        changes = [random.standard_normal(size).astype(np.float32) for _ in range(REPLICAS)]
        if number == 7:
            changes[1][3] = np.inf
        own = [shared + each for each in changes]
        usable = [vector - shared for vector in own]
        if number == 7:  # a contribution that cannot be used is lost, alone
            usable = [usable[0], usable[2]]
        bound = settings.get("clip_norm")
        if bound is not None:
            limit = bound / REPLICAS**0.5
            usable = [each * min(1.0, limit / np.linalg.norm(each)) for each in usable]
        changed += np.sum(usable, axis=0, dtype=np.float64)
        shared = exchange(strategy, own, number)
    if "delay" in settings:
        waiting = residuals(strategy)
        shared = exchange(strategy, [shared] * REPLICAS, last)
    else:
        waiting = residuals(strategy)
    assert float(strategy.measurements()["skipped_steps"]) == 1
    assert np.abs(shared).max() > 1
    # float32 accumulation over forty rounds of unit changes.
    np.testing.assert_allclose(shared + waiting / REPLICAS, changed / REPLICAS, atol=2e-4)


def test_what_decay_loses_is_counted() -> None:
    strategy = rounds(Fixed(initial=100.0), 2, residual_decay=0.5)
    shared = np.zeros(2, np.float32)
    for number in range(3):
        exchange(strategy, [shared + np.float32([8.0, -4.0])] * REPLICAS, number)
    # Residuals of 8, 8 / 2 + 8 = 12, 12 / 2 + 8 = 14, and half as much beside; half of the first two is lost.
    np.testing.assert_array_equal(residuals(strategy) / REPLICAS, [14.0, -7.0])
    assert float(strategy.measurements()["decayed"]) == REPLICAS * 0.5 * (8 + 4 + 12 + 6)


def test_thresholds_keep_their_proportion_to_the_learning_rate() -> None:
    policy = Adaptive(initial=1.0, minimum=1e-9, maximum=1.0)  # content with every density
    strategy = rounds(policy, 4)
    seen = []
    for number, rate in enumerate([0.0, 0.1, 0.05, 0.05, 0.0, 0.025, 1.0]):
        RATE.assign(rate)
        exchange(strategy, [np.float32([1.5, 0, 0, 0]) + strategy.shared_state()["agreed"].numpy()] * REPLICAS, number)
        seen.append(float(strategy.measurements()["threshold"]))
    # A rate of 0 says nothing; a factor of 40 is held at 2.
    np.testing.assert_allclose(seen, [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.5], rtol=1e-5)


def test_a_fixed_threshold_stays(build_job: Callable[..., Job]) -> None:
    fixed = ("strategy/threshold=fixed", "strategy.threshold.initial=0.01")
    job = run(build_job(*SMALL, *SHARING, "strategy.every=2", *fixed, "schedule=cosine", "train.steps=8"), 8)
    assert float(job.state.strategy.measurements()["threshold"]) == np.float32(0.01)


@pytest.mark.parametrize("outer", [(), ("strategy/outer=nesterov",)])
def test_dense_rounds_are_parameter_averaging(build_job: Callable[..., Job], outer: tuple[str, ...]) -> None:
    words = (*SMALL, "optimizer=adam", "train.batch=8", "strategy.every=5", *outer)
    ours = run(build_job(*words, *SHARING, "strategy.combine=mean", *DENSE), 15)
    averaged = run(build_job(*words, "strategy=local", "strategy.average_optimizer=false"), 15)
    # A mean of changes rounds otherwise than a mean of parameters.
    np.testing.assert_allclose(parameters(ours)[0], parameters(averaged)[0], atol=2e-5)


def test_replicas_differ_within_a_round_and_agree_after_it(build_job: Callable[..., Job]) -> None:
    job = build_job(*SMALL, "train.batch=8", *SHARING, "strategy.every=3")
    for number, _ in enumerate(itertools.islice(stepping(job), 7), start=1):
        assert np.array_equal(*parameters(job)) == (number % 3 == 0), number


def test_evaluation_within_a_round_disturbs_nothing_and_costs_no_exchange(build_job: Callable[..., Job]) -> None:
    words = (*SMALL, "train.batch=8", *SHARING, "strategy.every=3", "model.dropout=0.3")
    plain = run(build_job(*words), 8)
    job = build_job(*words)
    for number, _ in enumerate(itertools.islice(stepping(job), 8), start=1):
        if number == 3:
            shared = parameters(job)[0]
        if number == 5:
            np.testing.assert_array_equal(job.state.consensus(), shared)
            job.evaluator(job.state.consensus(), Split.TEST)
    np.testing.assert_array_equal(parameters(job), parameters(plain))
    got, wanted = (each.state.strategy.measurements()["bytes_sent"].numpy() for each in (job, plain))
    assert got == wanted > 0


def test_statistics_are_exchanged_when_somebody_looks(build_job: Callable[..., Job]) -> None:
    """Moving means of batch normalization cost nothing between evaluations, which see their mean."""
    job = build_job(*BATCH_NORM, *SHARING, "strategy.every=2")
    statistics = slice(job.layout.size, None)
    run(job, 4)
    first, second = (each[statistics] for each in parameters(job))
    assert first.size > 0
    assert not np.array_equal(first, second)
    consensus = job.state.consensus().numpy()[statistics]
    np.testing.assert_allclose(consensus, (first + second) / 2, rtol=1e-6)


def test_a_gradient_that_is_not_finite_costs_its_replica_a_step_and_nobody_else(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = build_job(*SMALL, "train.batch=16", "data.noise=0.3", "optimizer=adam", *SHARING, "strategy.every=4")
    clean = job.data.train

    def poisoned(shard: Shard, **settings: int) -> Iterator[tuple[tf.Tensor, ...]]:
        for number, (x, y, weight) in enumerate(clean(shard, **settings)):
            yield (x * np.nan if shard.rank == 1 and number in (5, 6, 9) else x), y, weight

    monkeypatch.setattr(job.data, "train", poisoned)
    counts = [int(job.state.strategy.measurements()["skipped_steps"]) for _ in itertools.islice(stepping(job), 12)]
    assert counts == [0] * 7 + [2] * 4 + [3]
    assert all(np.isfinite(each).all() for each in of_replica(job, 1).values())


@pytest.mark.parametrize("dense", [(), DENSE])
def test_skipped_steps_are_known_after_dense_rounds_too(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, dense: tuple[str, ...]
) -> None:
    job = build_job(*SMALL, "train.batch=16", *SHARING, "strategy.replicas=3", "strategy.every=2", *dense)
    clean = job.data.train
    monkeypatch.setattr(
        job.data,
        "train",
        lambda shard, **settings: ((x * (np.nan if shard.rank else 1), y, w) for x, y, w in clean(shard, **settings)),
    )
    run(job, 4)
    assert int(job.state.strategy.measurements()["skipped_steps"]) == 2 * 4


@pytest.mark.parametrize("kernel", ["native", "reference"])
def test_a_change_that_is_not_finite_skips_the_round_of_all(kernel: str) -> None:
    outer = OuterOptimizer(learning_rate=0.7, momentum=0.9, nesterov=True)
    strategy = rounds(Fixed(initial=0.5), 3, outer=outer, kernel=kernel)
    good = np.float32([1.0, -2.0, 0.1])
    shared = exchange(strategy, [good] * REPLICAS, 0)
    assert shared.any()
    momentum = strategy.shared_state()["outer_momentum"].numpy()
    after = exchange(strategy, [shared + good, shared + np.float32([1, np.nan, 0]), shared + good], 1)
    np.testing.assert_array_equal(after, shared)
    np.testing.assert_array_equal(strategy.shared_state()["outer_momentum"], momentum)
    assert float(strategy.measurements()["skipped_steps"]) == 1
    assert not np.array_equal(exchange(strategy, [shared] * REPLICAS, 2), shared), "what was taken back is sent now"


VARIED = {
    "plain": (),
    "levels, decay, delay": ("strategy.levels=3", "strategy.residual_decay=0.9", "strategy.delay=1"),
    "outer, per tensor": ("strategy/outer=nesterov", "strategy.per_tensor=true", "strategy.min_size=17"),
}


@pytest.mark.parametrize("name", quick(VARIED, only=["levels, decay, delay"]))
def test_the_kernels_and_the_reference_train_the_same_bits(build_job: Callable[..., Job], name: str) -> None:
    common = (*SMALL, "train.batch=8", *SHARING, "strategy.every=3", "strategy.threshold.density=0.02", *VARIED[name])
    native, reference = (run(build_job(*common, f"strategy.kernel={name}"), 12) for name in ("native", "reference"))
    np.testing.assert_array_equal(parameters(native), parameters(reference))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("strategy.every=2", "strategy.shares=gradients"),
            "strategy.shares must be updates with strategy.every above 1, got gradients and 2: replicas take steps "
            "alone; leave strategy.shares=auto",
        ),
        (
            ("strategy.every=2", "strategy.momentum=0.9"),
            "strategy.momentum must be 0 with strategy.every above 1, got 0.9 and 2",
        ),
        (
            ("strategy/outer=sgd", "strategy.shares=gradients"),
            "strategy/outer must be none with strategy.shares=gradients",
        ),
        (
            ("strategy.levels=2", "strategy/codec=bitmap"),
            "strategy.levels must be 1 with strategy/codec=bitmap, which has no room for more, got 2; set "
            "strategy/codec=smallest",
        ),
        (("strategy.residual_decay=0",), "strategy.residual_decay must be a number > 0 and <= 1, got 0"),
        (("strategy.levels=0",), "strategy.levels must be a whole number from 1 to 127, or auto, got 0"),
        (("strategy.every=0",), "strategy.every must be a whole number of steps from 1 to 1e9, got 0"),
    ],
)
def test_wrong_combinations_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as raised:
        check_job(composed(*SMALL, *SHARING, *words), processes=1)
    assert said in str(raised.value)


def test_with_rounds_or_an_outer_optimizer_updates_are_shared() -> None:
    for words in (("strategy.every=2",), ("strategy/outer=nesterov",)):
        config = check_job(composed(*SMALL, *SHARING, *words), processes=1)
        assert (config.strategy["shares"], config.strategy["momentum"]) == ("updates", 0.0)
        assert config.optimizer["momentum"] == 0.9
