"""Figures of yes or no: those of the positive class, at a threshold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from tfscale.evaluation import pictures
from tfscale.evaluation.base import Figures, Scored, State, Undefined, defined, document
from tfscale.evaluation.classification import NO_EXAMPLES, SCORES, mcc, precision_recall_f1
from tfscale.evaluation.probabilities import NOT_PROBABILITIES, outside

NAME = "binary"


@final
class Binary:
    """Figures of the positive class; implements `base.Suite`.

    Args:
        threshold: Probability above which an example is predicted to be positive.
        names: Of the two classes; None for 0 and 1.
    """

    name = NAME

    def __init__(self, *, threshold: float, names: Sequence[str] | None) -> None:
        self._threshold, self._names = threshold, [str(each) for each in names or (0, 1)]

    def zero(self) -> State:
        """Returns the state of no examples."""
        return {"counts": np.zeros((2, 2), np.int64), "outside": np.zeros(1, np.int64)}

    def of(self, scored: Scored) -> State:
        """Returns the state of examples: targets [b, 1] of 0 or 1, and probabilities [b, 1]."""
        true, scores = scored.targets.reshape(-1).astype(np.int64), scored.scores.reshape(-1)
        counts = np.bincount(2 * true + (scores > self._threshold), minlength=4)
        return {"counts": counts.reshape(2, 2).astype(np.int64), "outside": outside(scores)}

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the examples of both."""
        return {name: one[name] + other[name] for name in one}

    def figures(self, state: State) -> Figures:
        """Returns the figures."""
        counts, total = state["counts"], int(state["counts"].sum())
        if state["outside"][0]:
            return document({"examples": total, "accuracy": NOT_PROBABILITIES})
        if not total:
            return document({"examples": 0, "accuracy": NO_EXAMPLES})
        true, predicted, weights = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), counts.reshape(-1)
        each = precision_recall_f1(true, predicted, weights, average=None, labels=np.arange(2))
        (_, false_positive), (false_negative, _) = counts.tolist()
        negatives, positives = counts.sum(axis=1).tolist()
        reasons = (
            "no example is predicted to be positive",
            "there is no positive example",
            "there is nothing positive",
        )
        figures: dict[str, Any] = {
            "examples": total,
            "threshold": self._threshold,
            "positive_class": self._names[1],
            "accuracy": int(np.trace(counts)) / total,
            **{name: defined(values[1], why) for name, values, why in zip(SCORES, each[:3], reasons, strict=True)},
            "false_positive_rate": _ratio(false_positive, negatives, "there is no negative example"),
            "false_negative_rate": _ratio(false_negative, positives, "there is no positive example"),
            "mcc": mcc(true, predicted, weights),
            "confusion_matrix": counts.tolist(),
        }
        return document(figures)

    def draw(self, state: State, folder: Path, stem: str) -> Sequence[Path]:
        """Draws the confusion matrix."""
        if not state["counts"].sum() or state["outside"][0]:
            return []
        return [pictures.confusion_matrix(state["counts"], self._names, folder / f"{stem}confusion_matrix.png")]


def _ratio(part: int, whole: int, why: str) -> float | Undefined:
    return part / whole if whole else Undefined(why=why)
