"""Every figure is scikit-learn's, to 1e-12, computed there from the examples themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from tests.support.scored import CASES, N, classes, labels, measurements, state_of, yes_or_no
from tfscale.evaluation.classification import AVERAGES, SCORES

NEAR = {"rel": 1e-12, "abs": 1e-12}


def figures_of(case: str) -> Mapping[str, Any]:
    make, examples = CASES[case]
    return make().figures(state_of(make(), examples(), batch=32))


def averages_of(true: np.ndarray, predicted: np.ndarray, average: str, **more: Any) -> dict[str, float]:
    values = metrics.precision_recall_fscore_support(true, predicted, average=average, zero_division=np.nan, **more)
    return dict(zip(SCORES, map(float, values[:3]), strict=True))


def test_classification() -> None:
    figures, scored = figures_of("classification"), classes()
    true, predicted = scored.targets, scored.scores.argmax(axis=1)
    assert figures["examples"] == N
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted), **NEAR)
    assert figures["mcc"] == pytest.approx(metrics.matthews_corrcoef(true, predicted), **NEAR)
    top = metrics.top_k_accuracy_score(true, scored.scores, k=2, labels=np.arange(4))
    assert figures["top_2_accuracy"] == pytest.approx(top, **NEAR)
    assert figures["confusion_matrix"] == metrics.confusion_matrix(true, predicted, labels=np.arange(4)).tolist()
    for average in AVERAGES:
        assert figures[average] == pytest.approx(averages_of(true, predicted, average, labels=np.arange(4)), **NEAR)
    each = metrics.precision_recall_fscore_support(true, predicted, labels=np.arange(4), zero_division=np.nan)
    for number in range(3):
        row = {**dict(zip(SCORES, (values[number] for values in each[:3]), strict=True)), "support": each[3][number]}
        assert {name: figures["per_class"][number][name] for name in row} == pytest.approx(row, **NEAR)


def test_a_class_that_is_nowhere_is_null_is_left_out_of_averages_and_is_counted() -> None:
    figures = figures_of("classification")
    assert figures["undefined_classes"] == {"precision": 1, "recall": 1, "f1": 1}
    last = figures["per_class"][3]
    assert (last["class"], last["precision"], last["recall"], last["f1"], last["support"]) == ("d", None, None, None, 0)
    assert last["undefined"]["recall"] == "it has no examples"
    assert figures["macro"]["recall"] == pytest.approx(
        np.mean([row["recall"] for row in figures["per_class"][:3]]), **NEAR
    )


def test_binary() -> None:
    figures, scored = figures_of("binary"), yes_or_no()
    true, predicted = scored.targets.ravel(), scored.scores.ravel() > 0.5
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted), **NEAR)
    assert {name: figures[name] for name in SCORES} == pytest.approx(averages_of(true, predicted, "binary"), **NEAR)
    assert figures["mcc"] == pytest.approx(metrics.matthews_corrcoef(true, predicted), **NEAR)
    matrix = metrics.confusion_matrix(true, predicted)
    assert figures["confusion_matrix"] == matrix.tolist()
    assert figures["false_positive_rate"] == pytest.approx(matrix[0, 1] / matrix[0].sum(), **NEAR)
    assert figures["false_negative_rate"] == pytest.approx(1 - figures["recall"], **NEAR)


def test_multilabel() -> None:
    figures, scored = figures_of("multilabel"), labels()
    true, predicted = scored.targets.astype(int), (scored.scores > 0.5).astype(int)
    assert figures["exact_match"] == pytest.approx(metrics.accuracy_score(true, predicted), **NEAR)
    assert figures["label_accuracy"] == pytest.approx(np.mean(true == predicted), **NEAR)
    for average in (*AVERAGES, "samples"):
        assert figures[average] == pytest.approx(averages_of(true, predicted, average), **NEAR)
    for label, row in enumerate(figures["per_label"][:9]):
        got = {name: row[name] for name in SCORES}
        assert got == pytest.approx(averages_of(true[:, label], predicted[:, label], "binary"), **NEAR)
        assert row["mcc"] == pytest.approx(metrics.matthews_corrcoef(true[:, label], predicted[:, label]), **NEAR)
    assert figures["per_label"][9]["recall"] is figures["per_label"][9]["mcc"] is None
    assert figures["undefined_labels"]["recall"] == 1


def test_areas_under_curves_of_classes() -> None:
    figures, scored = figures_of("roc of classes"), classes()
    for number, row in enumerate(figures["per_class"][:3]):
        true, scores = scored.targets == number, scored.scores[:, number]
        assert row["auroc"] == pytest.approx(metrics.roc_auc_score(true, scores), **NEAR)
        assert row["auprc"] == pytest.approx(metrics.average_precision_score(true, scores), **NEAR)
    assert figures["per_class"][3]["undefined"] == {
        "auroc": "there is no positive example",
        "auprc": "there is no positive example",
    }
    assert figures["undefined_classes"] == {"auroc": 1, "auprc": 1}
    assert figures["macro"]["auroc"] == pytest.approx(
        np.mean([row["auroc"] for row in figures["per_class"][:3]]), **NEAR
    )


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_areas_under_curves_of_labels(average: str) -> None:
    figures, scored = figures_of("roc of labels"), labels()
    true, scores = scored.targets[:, :9], scored.scores[:, :9]
    assert figures[average]["auroc"] == pytest.approx(metrics.roc_auc_score(true, scores, average=average), **NEAR)
    area = metrics.average_precision_score(true, scores, average=average)
    assert figures[average]["auprc"] == pytest.approx(area, **NEAR)


def test_areas_under_curves_of_yes_or_no_with_ties_in_any_order() -> None:
    """Ties were broken by the order of the examples in DeepLearning4j, so the area depended on their partitioning."""
    figures, scored = figures_of("roc of yes or no"), yes_or_no()
    true, scores = scored.targets.ravel(), scored.scores.ravel()
    assert len(np.unique(scores)) < 12
    assert figures["auroc"] == pytest.approx(metrics.roc_auc_score(true, scores), **NEAR)
    assert figures["auprc"] == pytest.approx(metrics.average_precision_score(true, scores), **NEAR)


def _reliability(true: np.ndarray, probabilities: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The error by its definition, and scikit-learn's bins that are not empty."""
    observed, predicted = calibration_curve(true, probabilities.astype(np.float64), n_bins=10)
    bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], probabilities.astype(np.float64))
    counts = np.bincount(bins, minlength=10)
    return float(np.sum(np.abs(observed - predicted) * counts[counts > 0]) / len(true)), observed, predicted


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("calibration")])
def test_calibration(case: str) -> None:
    figures, scored = figures_of(case), CASES[case][1]()
    true, probabilities = scored.targets.ravel(), scored.scores.ravel()
    if case.endswith("classes"):
        true, probabilities = scored.targets == scored.scores.argmax(axis=1), scored.scores.max(axis=1)
    error, observed, predicted = _reliability(true, probabilities)
    filled = [row for row in figures["bins"] if row["count"]]
    assert [row["observed_rate"] for row in filled] == pytest.approx(observed.tolist(), **NEAR)
    assert [row["mean_probability"] for row in filled] == pytest.approx(predicted.tolist(), **NEAR)
    assert figures["ece"] == pytest.approx(error, **NEAR)
    assert sum(row["count"] for row in figures["bins"]) == figures["predictions"] == len(true)
    assert sum(sum(each) for each in figures["histograms"].values()) == len(true)
    assert all(row["undefined"] for row in figures["bins"] if not row["count"])


def test_regression() -> None:
    figures, scored = figures_of("regression"), measurements()
    true, predicted = scored.targets.astype(np.float64), scored.scores.astype(np.float64)
    for number, row in enumerate(figures["per_column"]):
        y, p = true[:, number], predicted[:, number]
        assert row["mse"] == pytest.approx(metrics.mean_squared_error(y, p), **NEAR)
        assert row["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, p), **NEAR)
        assert row["mae"] == pytest.approx(metrics.mean_absolute_error(y, p), **NEAR)
        if number < 2:
            assert row["r2"] == pytest.approx(metrics.r2_score(y, p), **NEAR)
            assert row["rse"] == pytest.approx(1 - metrics.r2_score(y, p), **NEAR)
            # numpy's correlation rounds the mean, which is 10,000 times the deviations here.
            assert row["pearson"] == pytest.approx(np.corrcoef(y, p)[0, 1], rel=1e-11)
    assert figures["mse"] == pytest.approx(metrics.mean_squared_error(true, predicted), **NEAR)
    assert figures["mae"] == pytest.approx(metrics.mean_absolute_error(true, predicted), **NEAR)
    assert figures["r2"] == pytest.approx(metrics.r2_score(true[:, :2], predicted[:, :2]), **NEAR)


def test_a_column_without_variance_has_no_r2() -> None:
    """It was infinite in DeepLearning4j, and is 0 or 1 in scikit-learn."""
    figures = figures_of("regression")
    row = figures["per_column"][2]
    assert row["r2"] is row["rse"] is row["pearson"] is None
    assert row["undefined"]["r2"] == "the targets have no variance"
    assert figures["undefined_columns"] == {"mse": 0, "mae": 0, "rmse": 0, "rse": 1, "r2": 1, "pearson": 1}
