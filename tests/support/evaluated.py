"""Small jobs of every task, for evaluations: sklearn's digits, tumours and diabetes, and generated rows of labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import make_multilabel_classification
from tfscale.scripts.datasets import __main__ as datasets

from tfscale.config.schemas.evaluation import EvaluationOptions
from tfscale.data.base import Data
from tfscale.evaluation.base import Suite
from tfscale.evaluation.select import suites_of
from tfscale.job.build import Job
from tfscale.job.evaluate import outputs_of
from tfscale.training.scored_pass import PassResult, ScoredPass, Slices

WORDS: Mapping[str, Sequence[str]] = {
    "digits": (
        "data=digits",
        "model=mlp",
        "+metrics.top3={_target_: keras.metrics.SparseTopKCategoricalAccuracy, k: 3}",
    ),
    "breast_cancer": ("recipe=binary_breast_cancer", "strategy/collective=in_process"),
    "diabetes": ("recipe=regression_diabetes", "strategy/collective=in_process"),
    "linnerud": (
        *("data=table", "data.file=linnerud.csv", "data.label=[Weight,Waist,Pulse]", "data.test=0.25", "model=mlp"),
        *("task=regression", "data.normalize=standardize"),
    ),
    "multilabel": (
        *("data=table", "data.file=labels.csv", "data.label=[a,b,c,d]", "data.test=0.4", "model=mlp"),
        *("data.normalize=standardize",),
    ),
}
"""Data set -> words; the files are written by `write_files`."""


def write_files(folder: Path) -> None:
    """Writes the files that `WORDS` name."""
    for name in ("breast_cancer", "diabetes", "linnerud"):
        datasets.WRITERS[name](folder)
    x, y = make_multilabel_classification(400, n_features=6, n_classes=4, random_state=1)
    lines = [",".join([*(f"x{index}" for index in range(6)), *"abcd", "group"])]
    for number, (row, labels) in enumerate(zip(x, y, strict=True)):
        lines.append(",".join([*map(str, row.astype(int)), *map(str, labels), ("red", "green", "blue")[number % 3]]))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def scored_pass(
    job: Job,
    *,
    data: Data | None = None,
    metrics: Mapping[str, keras.Metric] | None = None,
    slices: Slices | None = None,
) -> tuple[ScoredPass, Mapping[str, Mapping[str, Suite]]]:
    """Returns a pass of a job with all suites that fit, and these."""
    suites = suites_of(outputs_of(job, EvaluationOptions()), None)
    made = ScoredPass(
        job.state.replicas,
        metrics=job.evaluator.metrics if metrics is None else metrics,
        data=job.data if data is None else data,
        collective=job.collective,
        task=job.task,
        suites=suites,
        slices=slices,
    )
    return made, suites


def figures_of(result: PassResult, suites: Mapping[str, Mapping[str, Suite]]) -> dict[str, object]:
    """Returns everything that a pass has found, as JSON values."""
    return {
        **result.measured,
        **{" ".join(key): suites[key[0]][key[1]].figures(state) for key, state in sorted(result.states.items())},
    }


def disturb(job: Job) -> None:
    """Gives the model weights as after some training, the same at every W."""
    own = job.state.replicas[0].parameters().numpy()
    noise = 0.1 * np.random.default_rng(5).standard_normal(own.shape).astype(np.float32)
    for replica in job.state.replicas:
        replica.assign(own + noise)
