"""`tfscale evaluate` on real runs: its document, options, slices, processes and refusals."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.evaluated import write_files
from tests.support.forked_commands import forked
from tests.support.processes import launched
from tfscale.config import saved
from tfscale.config.evaluation import UNUSED, separate_options
from tfscale.config.overrides import parse
from tfscale.config.schemas.evaluation import EvaluationOptions
from tfscale.errors import UserError
from tfscale.job.evaluate import evaluate
from tfscale.world import World

TOP3 = ("+metrics.top3._target_=keras.metrics.SparseTopKCategoricalAccuracy", "+metrics.top3.k=3")

OWN = """
import keras


class Quiet(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        pass


def net(*, input_shape, outputs):
    inputs = keras.Input(tuple(input_shape))
    return keras.Model(inputs, keras.layers.Dense(outputs, "softmax")(keras.layers.Flatten()(inputs)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs: digits, labels with a column of categories, a callback and a model of the user's own."""
    place = tmp_path_factory.mktemp("runs")
    write_files(place)
    (place / "own.py").write_text(OWN)
    launched(place, "digits", "train.steps=30", "launch.np=1")
    table = ("data=table", "data.file=labels.csv", "data.label=[a,b,c,d]", "data.test=0.4")
    launched(place, "labels", *table, "train.steps=30")
    launched(place, "watched", "train.steps=3", "+callbacks.quiet._target_=own.Quiet", "trust=[own]")
    model = ("model._target_=own.net", "model.outputs=auto", "~model.hidden", "~model.dropout", "~model.activation")
    launched(place, "mine", "train.steps=3", *model, "trust=[own]")
    return place


def typed(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Runs `tfscale evaluate`."""
    return forked().completed(["evaluate", *words], folder, os.environ)


def document(folder: Path, run: str, *words: str) -> dict[str, Any]:
    """Evaluates, and returns evaluation.json."""
    done = typed(folder, run, *words)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "runs" / run / "evaluation.json").read_text())


def test_the_document_has_what_the_run_measured_and_the_suites_of_its_task(folder: Path) -> None:
    found = document(folder, "digits")
    summary = json.loads((folder / "runs" / "digits" / "summary.json").read_text())
    assert list(found)[:7] == ["split", "data", "run", "examples", "step", "loss", "accuracy"]
    assert (found["split"], found["run"], found["examples"], found["step"]) == ("test", "digits", 359, 30)
    assert found["accuracy"] == pytest.approx(summary["accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(summary["loss"], abs=2e-6)
    assert list(found["evaluations"]) == ["classification", "roc", "calibration"]
    assert found["evaluations"]["classification"]["accuracy"] == pytest.approx(found["accuracy"], abs=1e-7)
    pictures = [f"evaluation-{name}.png" for name in ("confusion_matrix", "roc", "precision_recall", "reliability")]
    assert found["pictures"] == pictures
    assert all((folder / "runs" / "digits" / name).is_file() for name in pictures)


def test_a_metric_can_be_added_after_training(folder: Path) -> None:
    """It was refused: a key that the run does not have."""
    found = document(folder, "digits", *TOP3, "evaluation=[classification]", "evaluation.top_k=3")
    assert found["top3"] == pytest.approx(found["evaluations"]["classification"]["top_3_accuracy"], abs=1e-7)
    assert list(found["evaluations"]) == ["classification"]
    assert found["pictures"] == ["evaluation-confusion_matrix.png"]
    assert not (folder / "runs" / "digits" / "evaluation-roc.png").exists(), "of another evaluation"
    assert "top3" not in (folder / "runs" / "digits" / "config.yaml").read_text()


@pytest.mark.slow
@pytest.mark.horovod
@pytest.mark.usefixtures("nothing_is_left_behind")
def test_the_document_is_the_same_on_any_number_of_processes_byte_for_byte(folder: Path) -> None:
    contents = set()
    for number in (1, 2, 3, 5):
        done = typed(folder, "labels", f"launch.np={number}", f"evaluation.batch={64 * number}", "evaluation.by=group")
        assert done.returncode == 0, done.stderr
        assert (f"starting {number} processes" in done.stdout) == (number > 1)
        assert "by group" in done.stdout
        contents.add((folder / "runs" / "labels" / "evaluation.json").read_bytes())
    assert len(contents) == 1
    assert json.loads(contents.pop())["examples"] == 160


def test_slices_by_a_column_of_categories_are_a_part_of_the_examples_each(folder: Path) -> None:
    found = document(folder, "labels", "evaluation.by=group")
    slices = found["slices"]
    assert slices["by"] == "group"
    assert set(slices["values"]) == {"blue", "green", "red"}
    counts = [each["multilabel"]["examples"] for each in slices["values"].values()]
    assert sum(counts) == 160
    assert all(40 < count < 70 for count in counts)
    bins = [each["calibration"]["predictions"] for each in slices["values"].values()]
    assert bins == [4 * count for count in counts]


def test_slices_by_the_class_have_its_recall(folder: Path) -> None:
    found = document(folder, "digits", "evaluation.by=target", "evaluation=[classification]")
    rows = found["evaluations"]["classification"]["per_class"]
    values = found["slices"]["values"]
    assert list(values) == [str(number) for number in range(10)]
    for number, each in enumerate(values.values()):
        assert each["classification"]["examples"] == rows[number]["support"]
        assert each["classification"]["accuracy"] == pytest.approx(rows[number]["recall"], rel=1e-12)


def test_slices_by_a_column_of_few_numbers_have_its_values(folder: Path) -> None:
    lines = (folder / "labels.csv").read_text().splitlines()[1:]
    found = document(folder, "labels", "evaluation.by=x0", "evaluation=[multilabel]")["slices"]["values"]
    assert set(found) <= {line.split(",")[0] for line in lines}
    assert sum(each["multilabel"]["examples"] for each in found.values()) == 160


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("digits", "evaluation=[regression]"), "one of classification, roc, calibration for task=classification, got"),
        (("digits", "evaluation.by=x"), "must be target, as these data name no columns, got x"),
        (("labels", "evaluation.by=x9"), r"must be target or a column (x0, x1, x2, x3, x4, x5, group), got x9"),
        (
            ("labels", "evaluation.by=target"),
            "evaluation.by=target needs one class for each example, and this is task=",
        ),
        (("digits", "metrics.top3.k=3"), "metrics.top3.k is not a key of this run; type +metrics.top3.k=3 to add it"),
        (("digits", "+metrics.m._target_=os.system"), "must begin with keras.metrics., got os.system"),
        (("digits", "launch.np=0"), "launch.np must be a whole number from 1 to 1e9, got 0"),
    ],
)
def test_what_does_not_fit_is_one_message(folder: Path, words: tuple[str, ...], message: str) -> None:
    done = typed(folder, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_column_of_too_many_values_is_refused_with_what_to_do(
    build_job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfscale.data.base import Split
    from tfscale.job.slices import slices_of

    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("age,y\n" + "".join(f"{index / 7},{index % 2}\n" for index in range(300)))
    job = build_job("data=table", "data.file=t.csv", "data.label=y", "data.test=0.5")
    with pytest.raises(
        UserError, match=r"evaluation.by=age must have at most 100 values, got 150; .*categorical=\[age"
    ):
        slices_of("age", job.data, job.task, Split.TEST)


@pytest.mark.horovod
@pytest.mark.usefixtures("nothing_is_left_behind")
def test_a_rank_that_fails_is_one_message_and_ends_the_others(folder: Path) -> None:
    """A metric that gives several numbers fails after the exchange, one of an unknown file before it."""
    (folder / "labels.csv").rename(folder / "away.csv")
    try:
        done = typed(folder, "labels", "launch.np=3")
    finally:
        (folder / "away.csv").rename(folder / "labels.csv")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "labels.csv" in line


@pytest.mark.horovod
@pytest.mark.usefixtures("nothing_is_left_behind")
def test_a_rank_that_is_killed_ends_the_evaluation_with_its_name(folder: Path) -> None:
    killing = folder / "killing.py"
    killing.write_text(
        "import os, signal\nimport keras\n\n\nclass Kill(keras.metrics.MeanAbsoluteError):\n"
        "    def reset_state(self):\n        super().reset_state()\n"
        "        if os.environ.get('HOROVOD_RANK') == '1':\n            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = typed(folder, "labels", "launch.np=2", "+metrics.kill._target_=killing.Kill", "trust=[killing]")
    assert done.returncode == 1
    assert "rank 1 (process " in done.stderr
    assert "was killed by SIGKILL" in done.stderr
    assert "logs-evaluation" in done.stderr


def test_trust_is_asked_for_where_code_is_loaded_and_nowhere_else(folder: Path) -> None:
    """A run once given trust=[own] asked for it at every command; its callback is not part of an evaluation."""
    assert document(folder, "watched")["step"] == 3
    refused = typed(folder, "mine")
    assert refused.returncode == 2
    assert "run mine runs code of own: add trust=[own] if you trust it" in refused.stderr
    assert document(folder, "mine", "trust=[own]")["step"] == 3
    resumed = forked().completed(["resume", "watched", "train.steps=4"], folder, os.environ)
    assert "run watched runs code of own: add trust=[own] if you trust it" in resumed.stderr


def test_trust_that_nothing_needs_is_not_asked_for(folder: Path) -> None:
    launched(folder, "unneeded", "train.steps=2", "trust=[own]")
    done = forked().completed(["resume", "unneeded", "train.steps=3"], folder, os.environ)
    assert done.returncode == 0, done.stderr


def test_it_is_a_function_that_returns_the_document(
    folder: Path, build_job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Python API calls it; `build_job` provides the devices."""
    monkeypatch.chdir(folder)
    run = folder / "runs" / "digits"
    config = saved.read(run, [], unused=UNUSED)
    found = evaluate(config, World(), run, EvaluationOptions(suites=["roc"]))
    assert found == json.loads((run / "evaluation.json").read_text())
    assert found["evaluations"]["roc"]["macro"]["auroc"] > 0.5


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), EvaluationOptions()),
        (("evaluation=auto",), EvaluationOptions()),
        (("evaluation=roc",), EvaluationOptions(suites=["roc"])),
        (("evaluation=[roc,binary]", "evaluation.by=a b"), EvaluationOptions(suites=["roc", "binary"], by="a b")),
        (("checkpoint=best", "evaluation.batch=128"), EvaluationOptions(checkpoint="best", batch=128)),
        (("evaluation.threshold=0.25", "evaluation.top_k=2"), EvaluationOptions(threshold=0.25, top_k=2)),
    ],
)
def test_options_are_separated_from_the_runs_own_keys(words: tuple[str, ...], wanted: EvaluationOptions) -> None:
    options, rest = separate_options(parse([*words, "train.batch=3"]))
    assert options == wanted
    assert [str(each.input_line) for each in rest] == ["train.batch=3"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("evaluation.bach=64", "evaluation.bach is not a key; did you mean evaluation.batch"),
        ("evaluation.batch=100", "evaluation.batch must be a multiple of 64, got 100"),
        ("evaluation=roc,binary", r"evaluation must be a list, got roc,binary; type evaluation=\[roc,binary\]"),
        ("evaluation=[]", r"evaluation must be a list of suites, \[classification,roc\], or auto, got \[\]"),
        ("evaluation.threshold=1", "evaluation.threshold must be a number between 0 and 1, both excluded, got 1"),
        ("evaluation.top_k=0", "evaluation.top_k must be a whole number from 1 to 1e9, got 0"),
        ("evaluation.by=a,b", "takes one"),
        ("checkpoint=last", "checkpoint must be newest or best, got last"),
    ],
)
def test_a_wrong_option_is_refused(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        separate_options(parse([word]))
