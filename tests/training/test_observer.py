"""What trackers are told of each tensor, on request: the change of a step is exact, and nobody else pays for it."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.in_place import SMALL, STRATEGIES
from tfscale.job.build import Job
from tfscale.training.loop import training_steps
from tfscale.training.observer import BUCKETS, Observer


def trained(job: Job, observer: Observer | None, steps: int) -> list[list[np.ndarray]]:
    """Trains; returns the tensors of the first replica before each step and after the last."""
    replica, whole = job.state.replicas[0], []
    loop = training_steps(job.state, job.data, shards=2, batch=16, seed=1, prefetch=2, observer=observer)
    for _ in itertools.islice(loop, steps):
        whole.append([np.array(each.numpy()) for each in replica.trainable_tensors()])
    return whole


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ratios_and_histograms_are_those_of_the_step(build_job: Callable[..., Job], strategy: str) -> None:
    job = build_job(*SMALL, *STRATEGIES[strategy], "strategy.replicas=2")
    observer = Observer(job.state.replicas[0], ratios=True, histograms=True, is_due=lambda step: step == 3)
    *_, before, after = trained(job, observer, 3)
    assert len(job.layout.names) == 4
    expected = {
        name: float(np.linalg.norm(new - old) / np.linalg.norm(old))
        for name, old, new in zip(job.layout.names, before, after, strict=True)
        if np.linalg.norm(old) > 0
    }
    assert observer.ratios() == pytest.approx(expected, rel=1e-6)  # the norm's own rounding
    assert expected
    records = list(observer.histograms())
    assert len(records) == 2 * 4
    for record in records:
        index = job.layout.names.index(str(record["name"]))
        values = after[index] if record["of"] == "parameters" else after[index] - before[index]
        counts, edges = np.histogram(values, BUCKETS)
        assert [record[f"count_{number}"] for number in range(BUCKETS)] == counts.tolist()
        assert (record["low"], record["high"]) == (edges[0], edges[-1])


def test_a_step_that_is_not_due_is_not_observed_and_an_observed_run_has_the_same_bits(
    build_job: Callable[..., Job],
) -> None:
    words = (*SMALL, "strategy=local", "strategy.replicas=2", "strategy.every=2")
    job = build_job(*words)
    observer = Observer(job.state.replicas[0], ratios=True, histograms=True, is_due=lambda step: False)
    seen = trained(job, observer, 4)
    assert not observer.ratios() and not list(observer.histograms())
    other = build_job(*words)
    due = Observer(other.state.replicas[0], ratios=True, histograms=True, is_due=lambda step: True)
    for mine, theirs in zip(seen, trained(other, due, 4), strict=True):
        for left, right in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(left, right)
    assert due.ratios()
    due.clear()
    assert not due.ratios()
