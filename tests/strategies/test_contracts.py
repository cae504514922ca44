"""What every strategy owes: transparency, agreement, nothing lost, void steps skipped alike."""

import itertools
from collections.abc import Callable, Iterator
from importlib.resources import files

import numpy as np
import pytest
import tensorflow as tf

from tfscale.codecs.smallest import Smallest
from tfscale.collectives.in_process import InProcess
from tfscale.data.base import Shard
from tfscale.job import Job
from tfscale.strategies.gradient_sharing import GradientSharing
from tfscale.thresholds import Adaptive, Fixed, TargetDensity
from tfscale.training.loop import training_steps

IN_PROCESS = "strategy/collective=in_process"
SHARING = ("strategy=sharing", IN_PROCESS)
STRATEGIES = {
    "horovod": ("strategy=horovod", IN_PROCESS),
    "horovod_averaging": ("strategy=horovod_averaging", IN_PROCESS, "strategy.every=2"),
    "local": ("strategy=local", "strategy.every=3"),
    "sharing": SHARING,
}
VARIANTS = {
    **STRATEGIES,
    "local, slots apart": ("strategy=local", "strategy.every=3", "strategy.average_optimizer=false"),
    "sharing updates": (*SHARING, "strategy.shares=updates"),
    "sharing sum": (*SHARING, "strategy.combine=sum", "optimizer.learning_rate=0.02"),
    "sharing clipped": (*SHARING, "strategy.clip_norm=1.0"),
    "sharing adaptive": (*SHARING, "strategy/threshold=adaptive"),
    "sharing fixed": (
        *SHARING,
        "strategy/threshold=fixed",
        "strategy.warmup=0",
        "strategy.threshold.initial=0.1",
    ),
    "sharing bitmap": (*SHARING, "strategy/codec=bitmap"),
}
SMALL = (
    *("data=synthetic", "data.shape=[6]", "data.examples=203", "data.test_examples=50"),
    *("model.hidden=[16]", "optimizer.learning_rate=0.05"),
)


def run(job: Job, steps: int) -> Job:
    feed = training_steps(
        job.state, job.data, shards=job.collective.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=2
    )
    for _ in itertools.islice(feed, steps):
        pass
    return job


def parameters(job: Job) -> list[np.ndarray]:
    return [replica.parameters().numpy() for replica in job.state.replicas]


def test_every_shipped_strategy_is_in_the_table() -> None:
    entries = files("tfscale.conf").joinpath("strategy").iterdir()
    assert {each.name.removesuffix(".yaml") for each in entries if each.name.endswith(".yaml")} == STRATEGIES.keys()


@pytest.mark.parametrize("replicas", [2, 3, 4])
@pytest.mark.parametrize(
    "strategy",
    [("strategy=horovod", IN_PROCESS), ("strategy=local", "strategy.every=1")],
    ids=["gradients", "parameters, K=1"],
)
def test_replicas_compute_what_one_with_the_whole_batch_does(
    build_job: Callable[..., Job], strategy: tuple[str, ...], replicas: int
) -> None:
    """Over more than an epoch, so that the ragged last batch (203 = 16 * 12 + 11) is in it."""
    common = (*SMALL, "optimizer=sgd")
    one = run(build_job(*common, "strategy=local", "strategy.replicas=1", "train.batch=12"), 20)
    many = run(build_job(*common, *strategy, f"strategy.replicas={replicas}", f"train.batch={12 // replicas}"), 20)
    for each in parameters(many):
        # Means of means round differently; the prototype's 1.2e-7 a step, twenty times.
        np.testing.assert_allclose(each, parameters(one)[0], atol=3e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_replicas_learn_and_agree_bit_for_bit(build_job: Callable[..., Job], name: str) -> None:
    job = build_job(*SMALL, "train.batch=16", "strategy.replicas=3", "data.noise=0.3", *VARIANTS[name])
    before = job.evaluator(job.state.consensus())["loss"]
    run(job, 60)
    first, *rest = parameters(job)
    for each in rest:
        np.testing.assert_array_equal(each[: job.trainable], first[: job.trainable])
    assert job.evaluator(job.state.consensus())["loss"] < before / 2


def test_replicas_drift_apart_between_averagings(build_job: Callable[..., Job]) -> None:
    job = run(build_job(*SMALL, "train.batch=8", "strategy=local", "strategy.every=3"), 4)
    assert not np.array_equal(*parameters(job))


def test_evaluation_between_averagings_disturbs_nothing(build_job: Callable[..., Job]) -> None:
    words = (*SMALL, "train.batch=8", "strategy=local", "strategy.every=3", "model.dropout=0.3")
    plain = parameters(run(build_job(*words), 8))
    job = run(build_job(*words), 4)
    job.evaluator(job.state.consensus())
    for got, wanted in zip(parameters(run(job, 4)), plain, strict=True):
        np.testing.assert_array_equal(got, wanted)


def sharing(threshold: object, **settings: object) -> GradientSharing:
    values = {
        "shares": "gradients",
        "combine": "sum",
        "clip_norm": None,
        "warmup": 0,
        "momentum": 0.0,
        "nesterov": False,
        "masking": True,
        **settings,
    }
    return GradientSharing(collective=InProcess(replicas=3), codec=Smallest(), threshold=threshold, **values)


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize(
    "threshold",
    [
        Fixed(initial=0.5),
        Adaptive(initial=0.5, minimum=1e-3, maximum=1e-1),
        TargetDensity(initial=0.5, density=0.01, ramp=10, gain=0.1),
    ],
    ids=["fixed", "adaptive", "target"],
)
def test_nothing_is_lost(threshold: object, warmup: int) -> None:
    """What was sent plus what waits is what was contributed."""
    size, steps = 1003, 200
    strategy = sharing(threshold, warmup=warmup)
    strategy.build([tf.zeros([size])] * 3, size)
    random = np.random.default_rng(0)
    exchange = tf.function(strategy.reduce_gradients)
    sent, contributed = np.zeros(size), np.zeros(size)
    for step in range(steps):
        gradients = [random.standard_normal(size).astype(np.float32) for _ in range(3)]
        contributed += np.sum(gradients, axis=0, dtype=np.float64)
        received = exchange([tf.constant(each) for each in gradients], tf.constant(step, tf.int64))
        sent += received[0].numpy()
    waiting = sum(strategy.replica_state(index)["residual"].numpy().astype(np.float64) for index in range(3))
    # float32 accumulation over 200 steps of three unit gradients.
    np.testing.assert_allclose(sent + waiting, contributed, atol=2e-4)


def test_momentum_is_that_of_the_optimizer() -> None:
    """With a tiny threshold everything is sent, so momentum before the exchange is plain momentum."""
    strategy = sharing(Fixed(initial=1e-30), combine="mean", momentum=0.5, warmup=10)
    strategy.build([tf.zeros([4])] * 3, 4)
    gradient = [tf.ones([4])] * 3
    got = [float(strategy.reduce_gradients(gradient, tf.constant(step, tf.int64))[0][0]) for step in range(3)]
    assert got == pytest.approx([1.0, 1.5, 1.75])


def test_masking_clears_momentum_where_an_element_was_sent() -> None:
    for masking, left in ((True, 0.0), (False, 1.0)):
        strategy = sharing(Fixed(initial=0.5), momentum=0.9, masking=masking)
        strategy.build([tf.zeros([2])] * 3, 2)
        strategy.reduce_gradients([tf.constant([1.0, 0.1])] * 3, tf.constant(0, tf.int64))
        assert strategy.replica_state(0)["velocity"].numpy() == pytest.approx([left, 0.1])


def test_clipping_divides_by_the_root_of_the_replicas() -> None:
    strategy = sharing(Fixed(initial=1e9), clip_norm=3.0)
    strategy.build([tf.zeros([2])] * 3, 2)
    strategy.reduce_gradients([tf.constant([30.0, 40.0])] * 3, tf.constant(0, tf.int64))
    residual = strategy.replica_state(0)["residual"].numpy()
    assert np.linalg.norm(residual) == pytest.approx(3.0 / 3**0.5, rel=1e-5)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("warmup", [0, 5])
def test_one_replicas_nan_is_skipped_by_all(poison: float, warmup: int) -> None:
    strategy = sharing(Fixed(initial=0.5), momentum=0.9, warmup=warmup)
    strategy.build([tf.zeros([3])] * 3, 3)
    good, bad = tf.constant([1.0, 0.2, 0.0]), tf.constant([1.0, poison, 0.0])
    received = strategy.reduce_gradients([good, bad, good], tf.constant(0, tf.int64))
    assert not np.asarray(received[0]).any()
    for index in range(3):
        assert all(not np.asarray(each).any() for each in strategy.replica_state(index).values())
    assert int(strategy.measurements()["skipped_steps"]) == 1
    assert np.asarray(strategy.reduce_gradients([good] * 3, tf.constant(1, tf.int64))[0]).any()


@pytest.mark.parametrize("shares", ["gradients", "updates"])
def test_training_goes_on_after_a_nan(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, shares: str
) -> None:
    """One replica's batch is poisoned at step 5: one step is skipped by all, and nothing stays behind in any slot."""
    job = build_job(*SMALL, *SHARING, f"strategy.shares={shares}", "data.noise=0.3", "train.batch=16")
    before = job.evaluator(job.state.consensus())["loss"]
    clean = job.data.train

    def poisoned(shard: Shard, **settings: int) -> Iterator[tuple[tf.Tensor, ...]]:
        for number, (x, y, weight) in enumerate(clean(shard, **settings)):
            yield (x * np.nan if number == 5 and shard.rank == 1 else x), y, weight

    monkeypatch.setattr(job.data, "train", poisoned)
    run(job, 60)
    assert int(job.state.strategy.measurements()["skipped_steps"]) == 1
    for index in range(2):
        assert all(np.isfinite(each).all() for each in job.state.replica_arrays(index).values())
    assert job.evaluator(job.state.consensus())["loss"] < before / 2


def test_the_exchange_stays_dense_until_there_is_a_threshold() -> None:
    strategy = sharing(TargetDensity(initial=None, density=0.01, ramp=0, gain=0.1), warmup=1)
    strategy.build([tf.zeros([50])] * 3, 50)
    nothing, something = tf.zeros([50]), tf.constant([2.0] + [0.0] * 49)
    for step, (gradient, wanted) in enumerate([(nothing, 0.0), (something, 2.0)]):
        strategy.reduce_gradients([gradient] * 3, tf.constant(step, tf.int64))
        assert float(strategy.measurements()["threshold"]) == wanted


def test_the_first_threshold_is_a_quantile_of_the_warm_up_gradient() -> None:
    strategy = sharing(TargetDensity(initial=None, density=0.01, ramp=0, gain=0.1), warmup=1)
    strategy.build([tf.zeros([1000])] * 3, 1000)
    gradient = tf.constant(np.arange(1000, dtype=np.float32))
    strategy.reduce_gradients([gradient] * 3, tf.constant(0, tf.int64))
    assert float(strategy.measurements()["threshold"]) == 990, "ten of a thousand elements are as large"


def test_bytes_are_counted_as_they_travel() -> None:
    strategy = sharing(Fixed(initial=0.5))
    strategy.build([tf.zeros([100])] * 3, 100)
    gradient = tf.constant([1.0] * 3 + [0.0] * 97)
    strategy.reduce_gradients([gradient] * 3, tf.constant(0, tf.int64))
    assert int(strategy.bytes_sent) == 3 * 2 * 4 * (3 + 3), "three messages of 3 + 3 words, to two others each"
