"""Evaluation is exact whatever the number of replicas."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.support.in_place import SMALL
from tests.support.marks import quick
from tfscale.data.base import Shard, Split
from tfscale.job.build import Job

METRICS = (
    "+metrics.top3={_target_: keras.metrics.SparseTopKCategoricalAccuracy, k: 3}",
    "+metrics.crossentropy={_target_: keras.metrics.SparseCategoricalCrossentropy}",
)


@pytest.mark.parametrize("replicas", quick([2, 3, 7], only=[3]))
def test_the_result_does_not_depend_on_the_number_of_replicas(build_job: Callable[..., Job], replicas: int) -> None:
    """50 test examples over 3 or 7 replicas: the shards differ in size."""
    one = build_job(*SMALL, *METRICS, "strategy.replicas=1")
    wanted = one.evaluator(one.state.consensus(), Split.TEST)
    many = build_job(*SMALL, *METRICS, f"strategy.replicas={replicas}")
    got = many.evaluator(many.state.consensus(), Split.TEST)
    assert got["accuracy"] == wanted["accuracy"]
    assert got["top3"] == wanted["top3"]
    # Sums of losses in float32, in another order.
    assert got == pytest.approx(wanted, rel=1e-5)


def test_a_second_evaluation_builds_no_dataset_and_leaves_the_replicas_alone(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building datasets once took most of an evaluation, and evaluations most of a run with short epochs."""
    job = build_job(*SMALL, "strategy=local", "strategy.replicas=2")
    built: list[int] = []
    evaluate = job.data.evaluate
    monkeypatch.setattr(
        job.data,
        "evaluate",
        lambda split, shard, batch: (built.append(shard.rank), evaluate(split, shard, batch=batch))[1],
    )
    before = [replica.parameters().numpy() for replica in job.state.replicas]
    consensus = 2 * job.state.consensus()
    first, second = job.evaluator(consensus, Split.TEST), job.evaluator(consensus, Split.TEST)
    assert first == second != job.evaluator(job.state.consensus(), Split.TEST)
    assert built == [0, 1]
    for replica, parameters in zip(job.state.replicas, before, strict=True):
        np.testing.assert_array_equal(replica.parameters(), parameters)


def test_data_that_is_no_dataset_is_read_anew_for_every_evaluation(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator of a user's Data can be read only once."""
    job = build_job(*SMALL, "strategy.replicas=2")
    wanted = job.evaluator(job.state.consensus(), Split.TEST)
    other = build_job(*SMALL, "strategy.replicas=2")
    evaluate = other.data.evaluate
    monkeypatch.setattr(other.data, "evaluate", lambda split, shard, batch: iter(evaluate(split, shard, batch=batch)))
    assert [other.evaluator(other.state.consensus(), Split.TEST) for _ in range(2)] == [wanted, wanted]


def test_it_is_what_keras_computes(build_job: Callable[..., Job]) -> None:
    job = build_job(*SMALL, "strategy.replicas=3")
    model = job.state.replicas[0].model
    x, y = (np.concatenate(parts) for parts in zip(*_test_batches(job), strict=True))
    predicted = model(x).numpy()
    got = job.evaluator(job.state.consensus(), Split.TEST)
    assert got["accuracy"] == pytest.approx(np.mean(predicted.argmax(axis=1) == y), abs=1e-7)
    assert got["loss"] == pytest.approx(-np.log(predicted[np.arange(len(y)), y]).mean(), rel=1e-5)


def _test_batches(job: Job) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x.numpy(), y.numpy()) for x, y, _ in job.data.evaluate(Split.TEST, Shard(0, 1), batch=20)]
