"""Figures of one class of several: accuracy, confusion matrix, precision, recall, F1, Matthews' coefficient.

The state is the confusion matrix without its zeros: pairs of classes and their counts. scikit-learn takes the pairs
with the counts as weights, and so computes from counts what it computes from examples. Positions of dense targets
(pixels, tokens) count one by one, and nothing is stored for each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from sklearn import metrics

from tfscale.evaluation import pictures, tallies
from tfscale.evaluation.base import Figures, Scored, State, Undefined, defined, document

NAME = "classification"

MOST_IN_MATRIX = 200
"""Classes up to which the confusion matrix is written and drawn."""

MOST_CLASSES = 1000
"""Classes up to which each has figures, and up to which scikit-learn's dense matrix for Matthews' coefficient fits."""

AVERAGES = ("macro", "micro", "weighted")
SCORES = ("precision", "recall", "f1")
NO_EXAMPLES = Undefined(why="there are no examples")


@final
class Classification:
    """Figures of the most probable class; implements `base.Suite`.

    Args:
        classes: C.
        names: Of the classes; None for their numbers.
        top_k: The class may be among so many of the most probable ones; None for no such figure.
    """

    name = NAME

    def __init__(self, *, classes: int, names: Sequence[str] | None, top_k: int | None) -> None:
        self._classes = classes
        self._names = [str(each) for each in (range(classes) if names is None else names)]
        self._top_k = top_k

    def zero(self) -> State:
        """Returns the state of no examples."""
        return {"pairs": np.zeros(0, np.int64), "counts": np.zeros(0, np.int64), "in_top_k": np.zeros(1, np.int64)}

    def of(self, scored: Scored) -> State:
        """Returns the state of examples: class numbers [b, ...], and scores [b, ..., C]."""
        targets, scores = scored.targets.reshape(-1).astype(np.int64), scored.scores.reshape(-1, self._classes)
        if not len(targets):
            return self.zero()
        pairs, counts = tallies.of(targets * self._classes + np.argmax(scores, axis=-1))
        return {"pairs": pairs, "counts": counts, "in_top_k": np.array([self._in_top_k(targets, scores)], np.int64)}

    def _in_top_k(self, targets: np.ndarray, scores: np.ndarray) -> int:
        if not self._has_top_k:
            return 0
        labels = np.arange(self._classes)
        return int(metrics.top_k_accuracy_score(targets, scores, k=self._top_k or 1, normalize=False, labels=labels))

    @property
    def _has_top_k(self) -> bool:
        return self._top_k is not None and 2 < self._classes > self._top_k

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the examples of both."""
        pairs, counts = tallies.merged((one["pairs"], one["counts"]), (other["pairs"], other["counts"]))
        return {"pairs": pairs, "counts": counts, "in_top_k": one["in_top_k"] + other["in_top_k"]}

    def figures(self, state: State) -> Figures:
        """Returns the figures; "undefined_classes" counts the classes that the averages leave out."""
        true, predicted = np.divmod(state["pairs"], self._classes)
        counts, total = state["counts"], int(state["counts"].sum())
        if not total:
            return document({"examples": 0, "accuracy": NO_EXAMPLES})
        figures: dict[str, Any] = {
            "examples": total,
            "accuracy": int(counts[true == predicted].sum()) / total,
            **self._top_k_figure(int(state["in_top_k"][0]), total),
            "mcc": self._mcc(true, predicted, counts),
        }
        labels = np.arange(self._classes)
        each = precision_recall_f1(true, predicted, counts, average=None, labels=labels)
        figures |= averages(true, predicted, counts, AVERAGES, labels=labels)
        figures["undefined_classes"] = undefined_counts(each)
        return document({**figures, **self._by_class(each), **self._matrix(state)})

    def _top_k_figure(self, hits: int, total: int) -> dict[str, float | Undefined]:
        if self._top_k is None:
            return {}
        why = f"it needs more than {max(2, self._top_k)} classes, and there are {self._classes}"
        return {f"top_{self._top_k}_accuracy": hits / total if self._has_top_k else Undefined(why=why)}

    def _mcc(self, true: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> float | Undefined:
        if self._classes > MOST_CLASSES:
            return Undefined(why=f"there are more than {MOST_CLASSES:,} classes")
        return mcc(true, predicted, counts)

    def _by_class(self, each: Sequence[np.ndarray]) -> dict[str, Any]:
        if self._classes > MOST_CLASSES:
            return {"per_class": Undefined(why=f"there are more than {MOST_CLASSES:,} classes")}
        return {"per_class": [{"class": name, **row} for name, row in zip(self._names, rows_of(each), strict=True)]}

    def _matrix(self, state: State) -> dict[str, Any]:
        if self._classes > MOST_IN_MATRIX:
            return {"confusion_matrix": Undefined(why=f"there are more than {MOST_IN_MATRIX} classes")}
        return {"confusion_matrix": self._dense(state).tolist()}

    def _dense(self, state: State) -> np.ndarray:
        """Returns [true, predicted]."""
        matrix = np.zeros(self._classes**2, np.int64)
        matrix[state["pairs"]] = state["counts"]
        return matrix.reshape(self._classes, self._classes)

    def draw(self, state: State, folder: Path, stem: str) -> Sequence[Path]:
        """Draws the confusion matrix."""
        if self._classes > MOST_IN_MATRIX or not len(state["pairs"]):
            return []
        return [pictures.confusion_matrix(self._dense(state), self._names, folder / f"{stem}confusion_matrix.png")]


def precision_recall_f1(
    true: np.ndarray,
    predicted: np.ndarray,
    counts: np.ndarray,
    *,
    average: str | None,
    labels: np.ndarray | None = None,
) -> tuple[Any, ...]:
    """Returns precision, recall, F1 and support, NaN for 0/0, which averages leave out.

    Args:
        true: [n] class numbers, or [n, labels] of 0 and 1.
        predicted: Like `true`.
        counts: [n], how often each pair occurs.
        average: As scikit-learn has it; None for arrays of all classes.
        labels: The classes; None for those of rows.
    """
    return metrics.precision_recall_fscore_support(
        true,
        predicted,
        labels=labels,
        sample_weight=counts,
        average=average,
        zero_division=np.nan,  # pyright: ignore[reportArgumentType] - the type that scikit-learn documents
    )


def rows_of(each: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Returns the figures of each class or label.

    Args:
        each: Precision, recall, F1 and support, NaN for 0/0.
    """
    reasons = ("it is never predicted", "it has no examples", "it has no examples and is never predicted")
    rows = []
    for *scores, support in zip(*each, strict=True):
        row = {name: defined(value, why) for name, value, why in zip(SCORES, scores, reasons, strict=True)}
        rows.append({**row, "support": int(support)})
    return rows


def averages(
    true: np.ndarray, predicted: np.ndarray, counts: np.ndarray, names: Sequence[str], *, labels: np.ndarray | None
) -> dict[str, dict[str, float | Undefined]]:
    """Returns averages of precision, recall and F1 by name, of what is not 0/0."""
    found = {}
    for name in names:
        values = precision_recall_f1(true, predicted, counts, average=name, labels=labels)
        why = f"it is 0/0 for every {'example' if name == 'samples' else 'class'}"
        found[name] = {score: defined(value, why) for score, value in zip(SCORES, values, strict=False)}
    return found


def undefined_counts(each: Sequence[np.ndarray]) -> dict[str, int]:
    """Returns for how many classes precision, recall and F1 are 0/0."""
    return {name: int(np.isnan(values).sum()) for name, values in zip(SCORES, each, strict=False)}


def mcc(true: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> float | Undefined:
    """Returns Matthews' correlation coefficient; scikit-learn says 0 where it is 0/0."""
    for values, what in ((true, "have"), (predicted, "are predicted to have")):
        if len(np.unique(values[counts > 0])) < 2:
            return Undefined(why=f"all examples {what} the same class")
    return float(metrics.matthews_corrcoef(true, predicted, sample_weight=counts))
