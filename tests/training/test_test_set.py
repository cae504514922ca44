"""The test set is measured once, at the end: nothing that a run decides or learns depends on it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.marks import quick
from tests.support.whole_runs import go
from tfscale.job.build import Job

WORDS = (
    *("data=npz", "data.normalize=standardize", "data.validation=0.25", "model=mlp", "model.hidden=[16]"),
    *("strategy=local", "strategy.replicas=2", "optimizer=adam", "optimizer.learning_rate=0.02", "train.batch=8"),
    *("train.steps=200", "train.evaluate_every=5", "early_stopping.patience=3", "early_stopping.monitor=loss"),
    "early_stopping.keep_best=true",
)


def points(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points whose class is noisy, so that a model overfits and its validation loss rises after a while."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, 8))
    return x, (x[:, 0] + random.standard_normal(count) > 0).astype(np.int64)


def trained(folder: Path, build_job: Callable[..., Job], x_test: np.ndarray, y_test: np.ndarray) -> tuple:
    """Trains with a test set; returns the results, what the tracker was told, and the names of the checkpoints."""
    folder.mkdir()
    x, y = points(0, 120)
    np.savez(folder / "d.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    results, memory = go(build_job(*WORDS, f"data.file={folder}/d.npz"), folder / "checkpoints", keep=1)
    return results, memory, sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize("change", quick(["labels", "inputs"], only=["labels"]))
def test_another_test_set_changes_neither_the_end_nor_the_best_checkpoint_nor_a_parameter(
    build_job: Callable[..., Job], tmp_path: Path, change: str
) -> None:
    x, y = points(1, 60)
    other = (x, np.random.default_rng(2).permutation(y)) if change == "labels" else (100 * x + 7, y)
    results, memory, checkpoints = trained(tmp_path / "one", build_job, x, y)
    others, other_memory, other_checkpoints = trained(tmp_path / "other", build_job, *other)
    assert results["best_step"] < results["steps"] < 200, "the run ends early, and its best step is an earlier one"
    for key in ("steps", "ended_early", "best", "best_step", "parameters_sha256"):
        assert others[key] == results[key], key
    assert other_checkpoints == checkpoints
    assert other_memory.evaluations == memory.evaluations
    assert [len(each.tests) for each in (memory, other_memory)] == [1, 1]
    assert other_memory.tests[0]["loss"] != memory.tests[0]["loss"]
