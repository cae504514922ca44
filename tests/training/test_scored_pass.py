"""One pass gives all figures, in the same bits at every W, batch and order of the shards."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from tests.support.evaluated import WORDS, disturb, figures_of, scored_pass, write_files
from tests.support.in_place import SMALL
from tests.support.marks import quick
from tfscale.config.schemas.evaluation import BLOCK
from tfscale.data.base import Data, Shard, Split
from tfscale.errors import RunError
from tfscale.job.build import Job

BATCHES = (BLOCK, 3 * BLOCK, 16 * BLOCK)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


@pytest.fixture
def build(build_job: Callable[..., Job], files: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Job]:
    """Builds the job of a data set with so many replicas."""
    monkeypatch.chdir(files)

    def built(name: str, replicas: int) -> Job:
        job = build_job(*WORDS[name], f"strategy.replicas={replicas}")
        disturb(job)
        return job

    return built


class Shuffled:
    """Data whose shards can go to other replicas than those of the same number."""

    def __init__(self, data: Data) -> None:
        self._data, self.turned = data, 0
        self.spec, self.sizes, self.digest = data.spec, data.sizes, data.digest

    def evaluate(self, split: Split, shard: Shard, *, batch: int) -> Any:
        return self._data.evaluate(split, shard._replace(rank=(shard.rank + self.turned) % shard.size), batch=batch)

    def train(self, shard: Shard, *, batch: int, seed: int, start: int, prefetch: int) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("name", quick(WORDS, only=["digits", "multilabel", "diabetes"]))
def test_the_document_is_the_same_at_every_number_of_replicas_batch_and_order_of_shards(
    name: str, build: Callable[[str, int], Job]
) -> None:
    """Loss and Keras metrics among it: sums in float32 differed in their last bits from W to W."""
    documents = []
    for replicas in (1, 2, 3, 5):
        job = build(name, replicas)
        data = Shuffled(job.data)
        made, suites = scored_pass(job, data=data)
        for data.turned, batch in enumerate(BATCHES):
            documents.append(json.dumps(figures_of(made(Split.TEST, batch=batch), suites)))
    assert len(documents) == 12
    assert len(set(documents)) == 1
    document = json.loads(documents[0])
    assert len(document) >= 4
    assert all(value is not None for value in document.values())


@pytest.mark.parametrize("model", quick(["lenet", "cnn", "gru", "transformer"], only=["cnn"]))
def test_the_bits_of_every_model_are_the_same_at_every_number_of_replicas(
    model: str, build_job: Callable[..., Job], small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFSCALE_DATA", str(small_data))
    data = "mnist" if model in ("lenet", "cnn") else "shakespeare"
    found = set()
    for replicas, batch in ((1, BATCHES[2]), (2, BATCHES[0]), (5, BATCHES[1])):
        job = build_job(f"model={model}", f"data={data}", f"strategy.replicas={replicas}")
        disturb(job)
        made, suites = scored_pass(job)
        found.add(json.dumps(figures_of(made(Split.TEST, batch=batch), suites)))
    assert len(found) == 1


def _examples(job: Job, split: Split = Split.TEST) -> tuple[Any, np.ndarray]:
    """Returns all inputs, and the targets as the task has them."""
    batches = list(job.data.evaluate(split, Shard(0, 1), batch=1000))
    x = np.concatenate([x.numpy() for x, _, _ in batches])
    return x, np.concatenate([np.asarray(job.task.encode(x, y)) for x, y, _ in batches])


def test_digits_are_what_keras_and_scikit_learn_compute(build: Callable[[str, int], Job]) -> None:
    job = build("digits", 2)
    made, suites = scored_pass(job)
    got: Mapping[str, Any] = figures_of(made(Split.TEST, batch=256), suites)
    x, y = _examples(job)
    scores = job.state.replicas[0].model(x, training=False).numpy()
    assert got["accuracy"] == pytest.approx(np.mean(scores.argmax(axis=1) == y), abs=1e-7)
    assert got["top3"] == pytest.approx(metrics.top_k_accuracy_score(y, scores, k=3), abs=1e-7)
    assert got["loss"] == pytest.approx(-np.log(scores[np.arange(len(y)), y]).mean(), rel=1e-5)
    suite = got[" classification all"]
    assert suite["accuracy"] == metrics.accuracy_score(y, scores.argmax(axis=1))
    assert np.sum(suite["confusion_matrix"]) == len(y)
    wanted = metrics.roc_auc_score(y == 3, scores[:, 3])
    assert got[" roc all"]["per_class"][3]["auroc"] == pytest.approx(wanted, rel=1e-12)


def test_diabetes_is_what_scikit_learn_computes(build: Callable[[str, int], Job]) -> None:
    job = build("diabetes", 3)
    made, suites = scored_pass(job)
    got: Mapping[str, Any] = figures_of(made(Split.TEST, batch=256), suites)
    x, y = _examples(job)
    predicted = job.state.replicas[0].model(x, training=False).numpy().astype(np.float64)
    suite = got[" regression all"]
    # The model's outputs depend on the size of the batch in their last bits.
    assert suite["r2"] == pytest.approx(metrics.r2_score(y.astype(np.float64), predicted), rel=1e-6)
    assert suite["mse"] == pytest.approx(got["loss"], rel=1e-6)
    assert suite["mae"] == pytest.approx(got["mae"], rel=1e-6)


TWO_OUTPUTS = (
    *("model._target_=tests.support.two_outputs.net", "~model.hidden", "~model.dropout"),
    "trust=[tests.support.two_outputs]",
)


def test_several_outputs_have_the_figures_of_their_tasks(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{n % 7},{n % 5},{'abc'[n % 3]},{n / 9}" for n in range(300)]
    (tmp_path / "two.csv").write_text("\n".join(["p,q,kind,size", *lines]))
    words = ("data=table", "data.file=two.csv", "data.label=[kind,size]", "data.test=0.5", *TWO_OUTPUTS)
    documents = []
    for replicas in (1, 3):
        job = build_job(*words, f"strategy.replicas={replicas}")
        made, suites = scored_pass(job)
        documents.append(figures_of(made(Split.TEST, batch=BLOCK), suites))
    assert documents[0] == documents[1]
    got: Mapping[str, Any] = documents[0]
    assert [name for name in got if " " in name] == [
        *("kind calibration all", "kind classification all", "kind roc all", "size regression all")
    ]
    assert got["kind classification all"]["examples"] == got["size regression all"]["examples"] == 150
    assert [row["class"] for row in got["kind classification all"]["per_class"]] == ["a", "b", "c"]


def test_the_model_sees_every_example_once_for_all_suites_and_metrics(
    build: Callable[[str, int], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retried partition counted twice in DeepLearning4j."""
    job = build("digits", 3)
    seen: list[int] = []
    for replica in job.state.replicas:
        outputs = replica.outputs

        def counted(x: tf.Tensor, *, training: bool, outputs: Any = outputs) -> Any:
            tf.numpy_function(lambda part: seen.append(len(part)) or np.int64(0), [x], tf.int64)
            return outputs(x, training=training)

        monkeypatch.setattr(replica, "outputs", counted)
    made, suites = scored_pass(job)
    made(Split.TEST, batch=256)
    assert len(suites[""]) == 3
    assert sum(seen) == job.data.sizes[Split.TEST] == 359
    assert sorted(seen) == [359 % BLOCK, *[BLOCK] * (359 // BLOCK)]


def test_a_shard_without_examples_changes_nothing(build: Callable[[str, int], Job]) -> None:
    """The 359 digits are six blocks: of seven replicas one has none."""
    documents = []
    for replicas in (1, 7):
        made, suites = scored_pass(build("digits", replicas))
        documents.append(figures_of(made(Split.TEST, batch=256), suites))
    assert documents[0] == documents[1]


def test_an_output_that_is_not_a_number_names_its_example(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = build_job(*SMALL, "data.test_examples=150", "strategy.replicas=2")
    x, _ = _examples(job)
    for replica in job.state.replicas:
        outputs = replica.outputs

        def broken(given: tf.Tensor, *, training: bool, outputs: Any = outputs) -> tf.Tensor:
            wrong = tf.reduce_all(given == x[69], axis=1, keepdims=True)
            return tf.where(wrong, np.float32(np.nan), outputs(given, training=training))

        monkeypatch.setattr(replica, "outputs", broken)
    made, _ = scored_pass(job)
    with pytest.raises(RunError, match="the model's output is nan for example 69 of the split, counted from 0"):
        made(Split.TEST, batch=BLOCK)


def test_a_metric_of_the_users_own_whose_state_is_a_sum_is_the_same_everywhere(
    build: Callable[[str, int], Job],
) -> None:
    """Every state is that of a block, and blocks are not divided."""

    class SumOfRoots(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="roots")
            self.total = self.add_weight(name="total", initializer="zeros")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.total.assign_add(tf.reduce_sum(tf.sqrt(tf.abs(y_pred))))

        def result(self) -> Any:
            return self.total

    found = set()
    for replicas in (1, 2, 5):
        job = build("digits", replicas)
        made, _ = scored_pass(job, metrics={name: SumOfRoots() for name in job.task.measures})
        found.add(made(Split.TEST, batch=256).measured["accuracy"])
    assert len(found) == 1
