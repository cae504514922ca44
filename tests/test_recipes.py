"""Results of recipes beside those of other libraries."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from tfscale.scripts.datasets import __main__ as datasets

from tests.support.in_place import run
from tfscale.data.base import Shard, Split
from tfscale.job.build import Job


def examples(job: Job, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of a split, as the model gets them."""
    batches = job.data.evaluate(split, Shard(0, 1), batch=64)
    x, y = zip(*((x, y) for x, y, _ in batches), strict=True)
    return np.concatenate(x), np.concatenate(y)


@pytest.mark.slow
def test_the_regression_is_as_good_as_ridge_on_the_same_split(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    datasets.WRITERS["diabetes"](tmp_path)
    job = build_job("recipe=regression_diabetes", "strategy=local", "strategy.replicas=2")
    x, y = examples(job, Split.TEST)
    ridge = r2_score(y, Ridge().fit(*examples(job, Split.TRAIN)).predict(x))
    assert ridge == pytest.approx(0.328, abs=5e-4), "the split is the one of docs/data.md"
    own = run(job, job.plan.steps).evaluator(job.state.consensus(), Split.TEST)["r2"]
    assert own == pytest.approx(ridge, abs=0.02)
