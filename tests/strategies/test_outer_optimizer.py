"""The outer optimizer: Keras's SGD on the change, nothing at rate 1 and momentum 0, known rules as special cases."""

import itertools
from collections.abc import Callable
from importlib.resources import files

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import SMALL, composed, parameters, run, stepping
from tfscale.config.preflight import check_job
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.strategies.outer_optimizer import MOMENTUM_FROM, OuterOptimizer

SETTINGS = [(1.0, 0.0, False), (0.7, 0.0, False), (1.0, 0.5, False), (0.7, 0.9, True), (1.3, 0.3, True)]
ACTIVE = ("strategy/outer=nesterov", "strategy.outer.learning_rate=0.9", "strategy.outer.momentum=0.3")


def test_every_shipped_option_is_known() -> None:
    folder = files("tfscale.conf").joinpath("strategy", "outer")
    assert {entry.name for entry in folder.iterdir()} == {"none.yaml", "sgd.yaml", "nesterov.yaml"}


@pytest.mark.parametrize(("rate", "momentum", "nesterov"), SETTINGS)
def test_it_is_sgd_of_keras_on_the_change(rate: float, momentum: float, nesterov: bool) -> None:
    """Against Keras in float32 and the rule of the module's docstring in float64, over ten exchanges."""
    random = np.random.default_rng(0)
    start = random.standard_normal(50).astype(np.float32)
    outer = OuterOptimizer(learning_rate=rate, momentum=momentum, nesterov=nesterov)
    outer.build(tf.constant(start), 4)
    weights = keras.Variable(start)
    sgd = keras.optimizers.SGD(rate, momentum=momentum, nesterov=nesterov)
    ours, exact, velocity = tf.constant(start), start.astype(np.float64), np.zeros(50)
    for _ in range(10):
        change = random.standard_normal(50).astype(np.float32) / 10
        ours = outer(ours + change, tf.constant(change))
        sgd.apply([tf.constant(-change)], [weights])
        velocity = momentum * velocity + change
        exact += rate * (change + momentum * velocity if nesterov else velocity)
    np.testing.assert_allclose(ours, weights.numpy(), atol=1e-6)
    np.testing.assert_allclose(ours, exact, atol=1e-6)


def test_rate_one_and_momentum_zero_change_no_bit_and_keep_no_state() -> None:
    outer = OuterOptimizer(learning_rate=1.0, momentum=0.0, nesterov=True)
    outer.build(tf.zeros([3]), 8)
    plain = tf.constant([0.1, 1e30, -3.0])
    assert outer(plain, tf.constant([0.3, 1.0, 7.0])) is plain
    assert not outer.is_active
    assert not outer.state()


@pytest.mark.parametrize(("replicas", "wanted"), [(1, 0.0), (3, 0.0), (4, 0.2), (8, 0.5), (15, 0.5), (64, 0.6)])
def test_the_automatic_momentum_grows_with_the_number_of_replicas(replicas: int, wanted: float) -> None:
    outer = OuterOptimizer(learning_rate=1.0, momentum="auto", nesterov=False)
    outer.build(tf.zeros([1]), replicas)
    assert outer.is_active == (wanted > 0)
    assert outer.note == f"outer optimizer: learning rate 1, momentum {wanted:g}"
    assert [fewest for fewest, _ in MOMENTUM_FROM] == [16, 8, 4]


def test_one_replica_without_momentum_is_lookahead(build_job: Callable[..., Job]) -> None:
    """Zhang et al. 2019: every K steps the slow weights go half of the way to the fast ones, which restart there."""
    words = (*SMALL, "optimizer=sgd", "strategy=local", "strategy.replicas=1", "strategy.every=4")
    job = build_job(*words, "strategy/outer=sgd", "strategy.outer.learning_rate=0.5", "strategy.outer.momentum=0")
    plain = build_job(*words)
    (slow,) = parameters(plain)
    for number, _ in enumerate(itertools.islice(zip(stepping(job), stepping(plain), strict=False), 12), start=1):
        if number % 4 == 0:
            (fast,) = parameters(plain)
            slow = slow + 0.5 * (fast - slow)
            plain.state.replicas[0].assign(tf.constant(slow, tf.float32))
            np.testing.assert_allclose(parameters(job)[0], slow, atol=1e-6)


def test_at_every_step_it_is_the_momentum_of_an_allreduce(build_job: Callable[..., Job]) -> None:
    momentum = ("strategy/outer=nesterov", "strategy.outer.learning_rate=1", "strategy.outer.momentum=0.9")
    words = (*SMALL, "train.batch=8", "strategy.replicas=3")
    ours = run(build_job(*words, "optimizer=sgd", "strategy=local", "strategy.every=1", *momentum), 10)
    allreduce = ("optimizer=nesterov", "strategy=horovod", "strategy/collective=in_process")
    wanted = run(build_job(*words, *allreduce), 10)
    np.testing.assert_allclose(parameters(ours)[0], parameters(wanted)[0], atol=3e-6)


@pytest.mark.parametrize("strategy", ["local", "horovod_averaging"])
def test_option_none_is_the_plain_mean(build_job: Callable[..., Job], strategy: str) -> None:
    words = (*SMALL, f"strategy={strategy}", "strategy/collective=in_process", "strategy.every=3")
    explicit = ("strategy/outer=sgd", "strategy.outer.momentum=0.0")
    plain, same, moved = (run(build_job(*words, *more), 7) for more in ((), explicit, ACTIVE))
    np.testing.assert_array_equal(parameters(plain)[0], parameters(same)[0])
    assert not np.array_equal(parameters(plain)[0], parameters(moved)[0])
    assert plain.state.strategy.shared_state().keys() == same.state.strategy.shared_state().keys()
    assert moved.state.strategy.shared_state().keys() - same.state.strategy.shared_state().keys() == {
        "anchor",
        "outer_momentum",
    }


def test_a_mean_that_is_not_finite_leaves_it_alone(build_job: Callable[..., Job]) -> None:
    job = run(build_job(*SMALL, "strategy=local", "strategy.every=1", *ACTIVE), 2)
    strategy, (own, other) = job.state.strategy, [tf.constant(each) for each in parameters(job)]
    before = {name: each.numpy() for name, each in strategy.shared_state().items()}
    broken = strategy.reduce_parameters([own, other * float("nan")], tf.constant(3, tf.int64))
    assert not np.isfinite(broken[: job.layout.size]).all()
    for name in ("anchor", "outer_momentum"):
        np.testing.assert_array_equal(strategy.shared_state()[name], before[name])


def test_a_run_says_what_it_is(build_job: Callable[..., Job]) -> None:
    job = build_job(*SMALL, "strategy=local", *ACTIVE)
    assert job.state.strategy.describe().notes == ["outer optimizer: learning rate 0.9, Nesterov momentum 0.3"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("strategy.outer.momentum=1",), "strategy.outer.momentum must be a number >= 0 and < 1, or auto, got 1"),
        (("strategy.outer.learning_rate=0",), "strategy.outer.learning_rate must be a number > 0, got 0"),
    ],
)
def test_wrong_values_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as raised:
        check_job(composed(*SMALL, "strategy=local", *words), processes=1)
    assert said in str(raised.value)
