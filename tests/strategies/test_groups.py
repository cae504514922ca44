"""Groups of replicas that share as one: one of them is a replica with the batch of all."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import SHARING, SMALL, composed, of_replica, parameters, run, stepping
from tests.support.marks import quick
from tfscale.collectives.in_process import InProcess
from tfscale.config.preflight import check_job
from tfscale.errors import UserError
from tfscale.estimate.model import sent_bytes
from tfscale.job.build import Job
from tfscale.strategies.gradient_sharing.groups import Groups

BATCH_NORM = ("data=digits", "model=cnn", "model.filters=[2]", "train.batch=4")
RULES = {
    "gradients": ("optimizer=nesterov",),
    "updates": ("optimizer=adam", "strategy.threshold.initial=0.001"),
    "rounds": ("optimizer=sgd", "strategy.every=3", "strategy.threshold.density=0.05", "strategy.levels=3"),
}


@pytest.mark.parametrize("rule", quick(RULES, only=["gradients"]))
def test_a_group_is_a_replica_with_the_batch_of_all(build_job: Callable[..., Job], rule: str) -> None:
    """Six steps: means of means round differently, and a threshold that is just met or not makes that larger."""
    words = (*SMALL, *SHARING, *RULES[rule])
    two = run(build_job(*words, "strategy.replicas=2", "train.batch=12"), 6)
    grouped = run(build_job(*words, "strategy.replicas=6", "strategy.group=3", "train.batch=4"), 6)
    np.testing.assert_allclose(parameters(grouped)[0], parameters(two)[0], atol=1e-5)
    assert grouped.state.strategy.senders == 2
    note = "2 groups of 3 replicas average their gradients and share as one each"
    assert note in grouped.state.strategy.describe().notes
    assert int(grouped.state.strategy.bytes_sent) == pytest.approx(int(two.state.strategy.bytes_sent), rel=0.02)


@pytest.mark.parametrize("rule", quick(RULES, only=["rounds"]))
def test_replicas_of_a_group_stay_equal_and_have_statistics_of_their_own(
    build_job: Callable[..., Job], rule: str
) -> None:
    words = (*BATCH_NORM, *SHARING, *RULES[rule])
    job = run(build_job(*words, "strategy.replicas=4", "strategy.group=2"), 7)
    first, second, third, fourth = (each[: job.layout.size] for each in parameters(job))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(third, fourth)
    assert np.array_equal(first, third) == (rule != "rounds"), "a round of three steps has begun anew"
    assert np.isfinite(job.state.consensus()).all()


@pytest.mark.parametrize("reduce", quick(["gather", "scatter"], only=["scatter"]))
def test_traffic_is_that_of_groups(build_job: Callable[..., Job], reduce: str) -> None:
    words = ("strategy.replicas=6", "strategy.group=2", f"strategy.reduce={reduce}")
    counts = []
    job = build_job(*SMALL, *SHARING, *words)
    for _ in itertools.islice(stepping(job), 4):
        counts.append(int(job.state.strategy.bytes_sent))
    strategy = job.state.strategy
    predicted = sum(3 * sent_bytes(each, 3) for each in strategy.traffic())
    assert predicted == pytest.approx(counts[-1] - counts[-2], rel=1e-6)


def test_the_first_replica_of_a_group_has_its_residual(build_job: Callable[..., Job]) -> None:
    strategy = build_job(*SMALL, *SHARING, "strategy.replicas=4", "strategy.group=2").state.strategy
    assert [bool(strategy.replica_state(index)) for index in range(4)] == [True, False, True, False]


def test_a_replica_that_differs_from_its_group_is_named(build_job: Callable[..., Job]) -> None:
    job = build_job(*SMALL, *SHARING, "strategy.replicas=6", "strategy.group=3")
    feed = stepping(job)
    for _ in itertools.islice(feed, 2):
        pass
    weights = job.state.replicas[4].model.trainable_variables[0].value
    weights.assign(weights.numpy() + 1)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.DataLossError), match=r"rank 4 differ.*at step 2"):
        next(feed)


def test_a_gradient_that_is_not_finite_skips_the_step_for_all(build_job: Callable[..., Job]) -> None:
    job = run(build_job(*SMALL, *SHARING, "strategy.replicas=4", "strategy.group=2"), 2)
    before, strategy = parameters(job), job.state.strategy
    own = [replica.trainable_tensors() for replica in job.state.replicas]
    gradients = [[tf.ones_like(each) for each in tensors] for tensors in own]
    gradients[3][0] *= float("nan")
    for reduced in strategy.reduce_gradients(gradients, own, tf.constant(2, tf.int64)):
        assert not any(np.any(each) for each in reduced)
    assert int(strategy.measurements()["skipped_steps"]) == 1
    np.testing.assert_array_equal(parameters(job)[0], before[0])
    assert all(np.isfinite(each).all() for each in of_replica(job, 3).values())


def test_a_group_is_in_one_process() -> None:
    collective = InProcess(replicas=6)
    collective.ranks = (3, 4, 5)
    with pytest.raises(UserError) as raised:
        Groups(collective, 2)
    assert str(raised.value) == (
        "strategy.group=2 needs a multiple of 2 replicas in every process, got 3 of 6; set strategy.replicas to a "
        "multiple of 2 times the number of processes, or launch.np"
    )
    with pytest.raises(UserError, match=r"strategy\.group=6 makes one group of all replicas"):
        Groups(InProcess(replicas=6), 6)


@pytest.mark.parametrize("replicas", ["auto", "8"])
def test_a_group_in_two_processes_is_refused_before_anything_starts(replicas: str) -> None:
    words = ("strategy=sharing", "strategy.group=2", f"strategy.replicas={replicas}", "launch.np=3")
    with pytest.raises(UserError) as raised:
        check_job(composed(*SMALL, *words), processes=3)
    assert (
        "strategy.replicas must be a multiple of 6, strategy.group times the number of processes (3), got "
        f"{replicas}; set strategy.replicas or launch.np"
    ) in str(raised.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("strategy.replicas=5",), "strategy.replicas must be a multiple of strategy.group, got 5 and 2"),
        (("strategy.replicas=2",), "strategy.group must be smaller than strategy.replicas, got 2 for both"),
        (("strategy.group=0",), "strategy.group must be a whole number from 1 to 1e9, got 0"),
    ],
)
def test_wrong_values_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as raised:
        check_job(composed(*SMALL, *SHARING, "strategy.group=2", *words), processes=1)
    assert said in str(raised.value)
