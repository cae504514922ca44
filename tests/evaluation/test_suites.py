"""What suites say where figures do not exist, which suites fit a task, and pictures."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.support.scored import CASES, N, classes, yes_or_no
from tfscale.errors import UserError
from tfscale.evaluation.base import Scored, Undefined, document
from tfscale.evaluation.binary import Binary
from tfscale.evaluation.calibration import Calibration
from tfscale.evaluation.classification import Classification
from tfscale.evaluation.roc import Roc
from tfscale.evaluation.select import FITTING, Output, suites_of
from tfscale.tasks.select import TASKS


def output(task: str, units: int = 3) -> Output:
    return Output(task=task, units=units, names=None, threshold=0.5, top_k=5)


def test_what_is_undefined_is_null_and_says_why() -> None:
    figures = {"a": Undefined(why="no examples"), "rows": [{"b": Undefined(why="0/0"), "c": np.float64(1)}], "d": 2}
    assert document(figures) == {
        "a": None,
        "rows": [{"b": None, "c": 1.0, "undefined": {"b": "0/0"}}],
        "d": 2,
        "undefined": {"a": "no examples"},
    }
    with pytest.raises(ValueError, match="a figure is nan"):
        document({"a": np.nan})


@pytest.mark.parametrize("target", [0, 1])
def test_one_class_alone_has_neither_coefficient_nor_area(target: int) -> None:
    scored = yes_or_no()
    alone = scored.only(scored.targets.ravel() == target)
    binary, roc = Binary(threshold=0.5, names=("no", "yes")), Roc(columns=1, names=None, targets="labels")
    figures, areas = binary.figures(binary.of(alone)), roc.figures(roc.of(alone))
    assert figures["mcc"] is areas["auroc"] is None
    assert figures["undefined"]["mcc"] == "all examples have the same class"
    missing = "negative" if target else "positive"
    assert areas["undefined"]["auroc"] == f"there is no {missing} example"
    assert areas["auprc"] == pytest.approx(1, rel=1e-12) if target else (areas["auprc"] is None)
    assert figures["false_positive_rate" if target else "recall"] is None


def test_a_threshold_moves_the_counts() -> None:
    scored = yes_or_no()
    matrices = []
    for threshold in (0.2, 0.5, 0.8):
        suite = Binary(threshold=threshold, names=None)
        matrices.append(suite.figures(suite.of(scored))["confusion_matrix"])
        assert matrices[-1][1][1] == int(((scored.scores > threshold) & (scored.targets > 0)).sum())
    assert matrices[0] != matrices[1] != matrices[2]


@pytest.mark.parametrize("case", ["binary", "multilabel", "calibration of classes", "calibration of yes or no"])
def test_scores_that_are_no_probabilities_give_null_with_what_to_do(case: str) -> None:
    """Logits above 0.5 are no probabilities above 0.5, whatever the figures would look like."""
    make, examples = CASES[case]
    suite, scored = make(), examples()
    scores = scored.scores.copy()
    scores[7] = -2.5
    figures = suite.figures(
        suite.merge(suite.of(scored), suite.of(Scored(targets=scored.targets, scores=scores, numbers=scored.numbers)))
    )
    (reason,) = set(figures["undefined"].values())
    assert reason.endswith("end the model with a softmax or sigmoid")
    assert suite.draw(suite.of(Scored(targets=scored.targets, scores=scores, numbers=scored.numbers)), Path(), "") == []


def test_more_classes_than_fit_are_counted_without_a_matrix(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 5000, 300).astype(np.int32)
    scores = random.random((300, 5000)).astype(np.float32)
    scores[np.arange(200), targets[:200]] = 2
    suite = Classification(classes=5000, names=None, top_k=None)
    state = suite.of(Scored(targets=targets, scores=scores, numbers=np.arange(300)))
    figures = suite.figures(state)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["micro"]["f1"] == pytest.approx(2 / 3)
    assert figures["undefined"] == {
        "mcc": "there are more than 1,000 classes",
        "per_class": "there are more than 1,000 classes",
        "confusion_matrix": "there are more than 200 classes",
    }
    assert sum(each.nbytes for each in state.values()) < 10_000
    assert suite.draw(state, tmp_path, "") == []


def test_positions_of_dense_targets_count_one_by_one() -> None:
    random = np.random.default_rng(0)
    targets, scores = random.integers(0, 3, (4, 5, 6)), random.random((4, 5, 6, 3)).astype(np.float32)
    suite = Classification(classes=3, names=None, top_k=None)
    figures = suite.figures(suite.of(Scored(targets=targets, scores=scores, numbers=np.arange(4))))
    assert figures["examples"] == 120
    assert figures["accuracy"] == pytest.approx(np.mean(targets == scores.argmax(axis=-1)))


def test_every_task_of_one_output_has_suites() -> None:
    assert FITTING.keys() == TASKS.keys()


@pytest.mark.parametrize("task", FITTING)
def test_auto_takes_all_that_fit(task: str) -> None:
    (chosen,) = suites_of({"": output(task)}, None).values()
    assert chosen.keys() == FITTING[task].keys()
    assert [suite.name for suite in chosen.values()] == list(chosen)


def test_auto_leaves_curves_of_many_classes_out() -> None:
    assert suites_of({"": output("classification", 1000)}, None)[""].keys() == {"classification", "calibration"}
    assert suites_of({"": output("classification", 1000)}, ["roc"])[""].keys() == {"roc"}


def test_several_outputs_have_the_suites_of_their_tasks() -> None:
    outputs = {"kind": output("classification"), "price": output("regression", 1)}
    chosen = suites_of(outputs, None)
    assert {name: [*suites] for name, suites in chosen.items()} == {
        "kind": ["classification", "roc", "calibration"],
        "price": ["regression"],
    }
    assert {name: [*suites] for name, suites in suites_of(outputs, ["roc"]).items()} == {"kind": ["roc"], "price": []}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            {"": output("regression", 1)},
            "evaluation must be one of regression for task=regression, got roc; leave it out to choose by the task",
        ),
        (
            {"a": output("next_token"), "b": output("regression")},
            "one of classification, regression for task=next_token and regression, got roc",
        ),
        ({"": output("mine")}, "evaluation must be auto, as no suite is for task=mine, got roc"),
    ],
)
def test_a_suite_that_does_not_fit_is_refused_with_those_that_do(outputs: dict[str, Output], message: str) -> None:
    with pytest.raises(UserError, match=message):
        suites_of(outputs, ["roc"])


@pytest.mark.parametrize("case", CASES)
def test_pictures_show_something(case: str, tmp_path: Path) -> None:
    make, examples = CASES[case]
    suite = make()
    drawn = suite.draw(suite.of(examples()), tmp_path, "evaluation-")
    wanted = {"multilabel": 0, "roc": 2}.get(suite.name, 1)
    assert len(drawn) == wanted == len(list(tmp_path.glob("evaluation-*.png")))
    for path in drawn:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 300
        assert len(np.unique(image[..., 0])) > 10
    assert not suite.draw(suite.zero(), tmp_path, "empty-")


def test_a_classification_of_two_classes_has_no_top_k() -> None:
    scored = classes()
    two = Scored(targets=scored.targets % 2, scores=scored.scores[:, :2], numbers=scored.numbers)
    suite = Classification(classes=2, names=None, top_k=5)
    figures = suite.figures(suite.of(two))
    assert figures["top_5_accuracy"] is None
    assert "more than 5 classes, and there are 2" in figures["undefined"]["top_5_accuracy"]
    assert json.loads(json.dumps(figures)) == figures
    assert Calibration(columns=2, targets="classes").figures(suite_state(two))["predictions"] == N


def suite_state(scored: Scored) -> dict[str, np.ndarray]:
    return dict(Calibration(columns=2, targets="classes").of(scored))
