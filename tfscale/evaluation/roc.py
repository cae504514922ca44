"""Areas under the ROC and the precision-recall curve: of each class against the others, or of each label.

The state is the distinct scores with the number of positive and negative examples at each, so ties are counted as ties,
whatever the order of the examples. It is exact and grows with the number of examples times the number of columns.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from sklearn import metrics

from tfscale.evaluation import pictures, tallies
from tfscale.evaluation.base import Figures, Scored, State, Undefined, document

NAME = "roc"


@final
class Roc:
    """AUROC and AUPRC; implements `base.Suite`.

    Args:
        columns: Number of scores of an example.
        names: Of the classes or labels; None for numbers.
        targets: `classes` if a target is a class number, one against the others; `labels` if it has 0 or 1 for each
            column.
    """

    name = NAME

    def __init__(self, *, columns: int, names: Sequence[str] | None, targets: Literal["classes", "labels"]) -> None:
        self._columns, self._targets = columns, targets
        self._names = [str(each) for each in (range(columns) if names is None else names)]

    def zero(self) -> State:
        """Returns the state of no examples."""
        return {"scores": np.zeros((0, 2), np.float64), "counts": np.zeros((0, 2), np.int64)}

    def of(self, scored: Scored) -> State:
        """Returns the state of examples: targets [b] or [b, columns], and scores [b, columns]."""
        scores = scored.scores.reshape(-1, self._columns).astype(np.float64)
        if self._targets == "classes":
            positive = scored.targets.reshape(-1, 1) == np.arange(self._columns)
        else:
            positive = scored.targets.reshape(-1, self._columns) > 0.5
        column = np.broadcast_to(np.arange(self._columns, dtype=np.float64), scores.shape)
        keys = np.stack([column.ravel(), scores.ravel()], axis=1)
        keys, counts = tallies.of(keys, np.stack([~positive.ravel(), positive.ravel()], axis=1).astype(np.int64))
        return {"scores": keys, "counts": counts}

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the examples of both."""
        scores, counts = tallies.merged((one["scores"], one["counts"]), (other["scores"], other["counts"]))
        return {"scores": scores, "counts": counts}

    def figures(self, state: State) -> Figures:
        """Returns the figures of each column, and their averages over the columns where they are defined."""
        rows = [_areas(*each) for each in self._by_column(state)]
        if self._columns == 1:
            return document(rows[0])
        figures: dict[str, Any] = {
            average: {area: _average(rows, area, weighted=average == "weighted") for area in ("auroc", "auprc")}
            for average in ("macro", "weighted")
        }
        one = "per_class" if self._targets == "classes" else "per_label"
        figures[f"undefined_{one.removeprefix('per_')}{'es' if self._targets == 'classes' else 's'}"] = {
            area: sum(isinstance(row[area], Undefined) for row in rows) for area in ("auroc", "auprc")
        }
        key = one.removeprefix("per_")
        figures[one] = [{key: name, **row} for name, row in zip(self._names, rows, strict=True)]
        return document(figures)

    def _by_column(self, state: State) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields 0 or 1, score and count of each column."""
        ends = np.searchsorted(state["scores"][:, 0], np.arange(self._columns + 1))
        for low, high in itertools.pairwise(ends):
            scores, counts = state["scores"][low:high, 1], state["counts"][low:high]
            true = np.repeat([0, 1], len(scores))
            weights = counts.T.ravel()
            present = weights > 0
            yield true[present], np.tile(scores, 2)[present], weights[present]

    def draw(self, state: State, folder: Path, stem: str) -> Sequence[Path]:
        """Draws the ROC and the precision-recall curves."""
        curves: dict[str, list[pictures.Curve]] = {"roc": [], "precision_recall": []}
        for name, (true, scores, weights) in zip(self._names, self._by_column(state), strict=True):
            if len(np.unique(true)) < 2:
                continue
            label = "" if self._columns == 1 else name
            x, y, _ = metrics.roc_curve(true, scores, sample_weight=weights)
            curves["roc"].append((label, x, y))
            precision, recall, _ = metrics.precision_recall_curve(true, scores, sample_weight=weights)
            curves["precision_recall"].append((label, recall, precision))
        axes = {"roc": ("false positive rate", "true positive rate"), "precision_recall": ("recall", "precision")}
        return [
            pictures.curves(drawn, axes[which], folder / f"{stem}{which}.png")
            for which, drawn in curves.items()
            if drawn
        ]


def _areas(true: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    positives, negatives = int(weights[true == 1].sum()), int(weights[true == 0].sum())
    auroc: float | Undefined = Undefined(why=f"there is no {'positive' if not positives else 'negative'} example")
    auprc: float | Undefined = Undefined(why="there is no positive example")
    if positives and negatives:
        auroc = float(metrics.roc_auc_score(true, scores, sample_weight=weights))
    if positives:
        auprc = float(metrics.average_precision_score(true, scores, sample_weight=weights))
    return {"auroc": auroc, "auprc": auprc, "positives": positives, "negatives": negatives}


def _average(rows: Sequence[dict[str, Any]], area: str, *, weighted: bool) -> float | Undefined:
    present = [row for row in rows if not isinstance(row[area], Undefined)]
    if not present:
        return Undefined(why="it is undefined in every column")
    weights = [row["positives"] for row in present] if weighted else None
    return float(np.average([row[area] for row in present], weights=weights))
