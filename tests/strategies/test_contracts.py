"""What every strategy owes: transparency, agreement, and learning."""

import itertools
from collections.abc import Callable, Iterator
from importlib.resources import files

import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import IN_PROCESS, SMALL, STRATEGIES, VARIANTS, of_replica, parameters, run, stepping
from tests.support.marks import quick
from tfscale.collectives import consistency
from tfscale.collectives.in_process import InProcess
from tfscale.data.base import Shard, Split
from tfscale.estimate.model import sent_bytes
from tfscale.job.build import Job


def test_every_shipped_strategy_is_in_the_table() -> None:
    entries = files("tfscale.conf").joinpath("strategy").iterdir()
    assert {each.name.removesuffix(".yaml") for each in entries if each.name.endswith(".yaml")} == {*STRATEGIES, "auto"}


@pytest.mark.parametrize("replicas", quick([2, 3, 4], only=[3]))
def test_replicas_compute_what_one_with_the_whole_batch_does(build_job: Callable[..., Job], replicas: int) -> None:
    """Over more than an epoch, so that the ragged last batch (203 = 16 * 12 + 11) is in it."""
    common = (*SMALL, "optimizer=sgd")
    one = run(build_job(*common, "strategy=local", "strategy.replicas=1", "train.batch=12"), 20)
    for strategy in (("strategy=horovod", IN_PROCESS), ("strategy=local", "strategy.every=1")):
        many = run(build_job(*common, *strategy, f"strategy.replicas={replicas}", f"train.batch={12 // replicas}"), 20)
        for each in parameters(many):
            # Means of means round differently; the prototype's 1.2e-7 a step, twenty times.
            np.testing.assert_allclose(each, parameters(one)[0], atol=3e-6, err_msg=str(strategy))


@pytest.mark.parametrize("name", quick(VARIANTS, only=[*STRATEGIES, "sharing updates"]))
def test_replicas_learn_and_agree_bit_for_bit(build_job: Callable[..., Job], name: str) -> None:
    job = build_job(*SMALL, "train.batch=16", "strategy.replicas=3", "data.noise=0.3", *VARIANTS[name])
    before = job.evaluator(job.state.consensus(), Split.TEST)["loss"]
    run(job, 60)
    first, *rest = parameters(job)
    for each in rest:
        np.testing.assert_array_equal(each[: job.layout.size], first[: job.layout.size])
    assert job.evaluator(job.state.consensus(), Split.TEST)["loss"] < before / 2


@pytest.mark.parametrize(
    "name", quick([name for name in VARIANTS if "warm-up" not in name], only=[*STRATEGIES, "sharing in rounds"])
)
def test_traffic_is_what_the_bytes_count(build_job: Callable[..., Job], name: str) -> None:
    """Messages differ in length, so the count of the last exchange is compared."""
    job = build_job(*SMALL, "train.batch=16", "strategy.replicas=3", *VARIANTS[name])
    strategy, counts = job.state.strategy, [0]
    for _ in itertools.islice(stepping(job), 24):  # a multiple of all rounds
        counts.append(int(strategy.bytes_sent))
    length = max(each.every for each in strategy.traffic())
    senders = strategy.senders
    predicted = sum(senders * sent_bytes(each, senders) * length / each.every for each in strategy.traffic())
    assert predicted == pytest.approx(counts[24] - counts[24 - length], rel=1e-6)


@pytest.mark.parametrize("name", ["horovod", "horovod, reproducible", "local"])
def test_a_gradient_that_is_not_finite_is_not_applied(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    job = build_job(*SMALL, "train.batch=16", "data.noise=0.3", "optimizer=adam", *VARIANTS[name])
    before, clean = job.evaluator(job.state.consensus(), Split.TEST)["loss"], job.data.train
    poison = {5: np.nan, 9: np.inf}

    def poisoned(shard: Shard, **settings: int) -> Iterator[tuple[tf.Tensor, ...]]:
        for number, (x, y, weight) in enumerate(clean(shard, **settings)):
            yield (x * poison.get(number, 1.0) if shard.rank == 1 else x), y, weight

    monkeypatch.setattr(job.data, "train", poisoned)
    for number, _ in enumerate(itertools.islice(stepping(job), 60)):
        if number == 8:
            assert int(job.state.strategy.measurements()["skipped_steps"]) == 1, "the NaN"
    assert int(job.state.strategy.measurements()["skipped_steps"]) == 2, "and the infinity"
    assert all(np.isfinite(each).all() for each in of_replica(job, 1).values())
    assert job.evaluator(job.state.consensus(), Split.TEST)["loss"] < before / 2


@pytest.mark.parametrize(
    ("name", "rank"),
    quick(
        [("horovod", 0), ("horovod, reproducible", 2), ("sharing", 0), ("sharing, reference", 2)],
        only=[("horovod", 0), ("sharing", 0)],
    ),
)
def test_a_replica_with_other_parameters_is_named_before_anything_is_applied(
    build_job: Callable[..., Job], name: str, rank: int
) -> None:
    job = build_job(*SMALL, "train.batch=16", "strategy.replicas=3", *VARIANTS[name])
    feed = stepping(job)
    for _ in itertools.islice(feed, 3):
        pass
    before = parameters(job)[1]
    weights = job.state.replicas[rank].model.trainable_variables[0].value
    flat = weights.numpy()
    flat.view(np.int32)[0, 0] ^= 1
    weights.assign(flat)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.DataLossError), match=rf"rank {rank}\b.*differ"):
        next(feed)
    np.testing.assert_array_equal(parameters(job)[1], before)


@pytest.mark.parametrize("replicas", range(1, 20))
def test_digests_survive_a_mean(replicas: int) -> None:
    digests = np.random.default_rng(replicas).integers(-(2**31), 2**31, replicas).tolist()
    digests[0] = (-(2**31), -1, 0, 2**31 - 1)[replicas % 4]
    digest_slots = consistency.digest_slots(map(tf.constant, digests), range(replicas), replicas)
    mean = InProcess(replicas=replicas).mean(digest_slots)
    assert consistency.decode_digests(mean, replicas).numpy().tolist() == digests


def test_replicas_drift_apart_between_averagings(build_job: Callable[..., Job]) -> None:
    job = run(build_job(*SMALL, "train.batch=8", "strategy=local", "strategy.every=3"), 4)
    assert not np.array_equal(*parameters(job))


def test_evaluation_between_averagings_disturbs_nothing(build_job: Callable[..., Job]) -> None:
    words = (*SMALL, "train.batch=8", "strategy=local", "strategy.every=3", "model.dropout=0.3")
    plain = parameters(run(build_job(*words), 8))
    job = build_job(*words)
    for number, _ in enumerate(itertools.islice(stepping(job), 8), start=1):
        if number == 4:
            job.evaluator(job.state.consensus(), Split.TEST)
    for got, wanted in zip(parameters(job), plain, strict=True):
        np.testing.assert_array_equal(got, wanted)
