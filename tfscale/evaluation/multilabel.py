"""Figures of any number of several labels: of each label, averaged, and of whole rows.

The state is the distinct pairs of a true and a predicted row, as bits, and their counts. scikit-learn takes the rows
with the counts as weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from sklearn import metrics

from tfscale.evaluation import tallies
from tfscale.evaluation.base import Figures, Scored, State, document
from tfscale.evaluation.classification import NO_EXAMPLES, averages, mcc, precision_recall_f1, rows_of, undefined_counts
from tfscale.evaluation.probabilities import NOT_PROBABILITIES, outside

NAME = "multilabel"
AVERAGES = ("macro", "micro", "weighted", "samples")


@final
class Multilabel:
    """Figures of each label and averaged; implements `base.Suite`.

    Args:
        labels: L.
        threshold: Probability above which a label is predicted.
    """

    name = NAME

    def __init__(self, *, labels: int, threshold: float) -> None:
        self._labels, self._threshold = labels, threshold
        self._bytes = -(-labels // 8)

    def zero(self) -> State:
        """Returns the state of no examples."""
        rows = np.zeros((0, 2 * self._bytes), np.uint8)
        return {"rows": rows, "counts": np.zeros(0, np.int64), "outside": np.zeros(1, np.int64)}

    def of(self, scored: Scored) -> State:
        """Returns the state of examples: targets [b, L] of 0 or 1, and probabilities [b, L]."""
        both = (scored.targets > 0.5, scored.scores > self._threshold)
        rows, counts = tallies.of(np.concatenate([np.packbits(each, axis=1) for each in both], axis=1))
        return {"rows": rows, "counts": counts, "outside": outside(scored.scores)}

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the examples of both."""
        rows, counts = tallies.merged((one["rows"], one["counts"]), (other["rows"], other["counts"]))
        return {"rows": rows, "counts": counts, "outside": one["outside"] + other["outside"]}

    def figures(self, state: State) -> Figures:
        """Returns the figures."""
        counts, total = state["counts"], int(state["counts"].sum())
        if state["outside"][0]:
            return document({"examples": total, "exact_match": NOT_PROBABILITIES})
        if not total:
            return document({"examples": 0, "exact_match": NO_EXAMPLES})
        true, predicted = (
            self._bits(state["rows"][:, part]) for part in (slice(self._bytes), slice(self._bytes, None))
        )
        each = precision_recall_f1(true, predicted, counts, average=None)
        figures: dict[str, Any] = {
            "examples": total,
            "threshold": self._threshold,
            "exact_match": float(metrics.accuracy_score(true, predicted, sample_weight=counts)),
            "label_accuracy": 1 - float(metrics.hamming_loss(true, predicted, sample_weight=counts)),
        }
        figures |= averages(true, predicted, counts, AVERAGES, labels=None)
        figures["undefined_labels"] = undefined_counts(each)
        figures["per_label"] = [
            {"label": label, **row, "mcc": mcc(true[:, label], predicted[:, label], counts)}
            for label, row in enumerate(rows_of(each))
        ]
        return document(figures)

    def _bits(self, rows: np.ndarray) -> np.ndarray:
        return np.unpackbits(rows, axis=1, count=self._labels)

    def draw(self, state: State, folder: Path, stem: str) -> Sequence[Path]:
        """Draws nothing."""
        return []
