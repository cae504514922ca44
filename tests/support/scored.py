"""Examples with scores of a model, for every suite, and their suites."""

from collections.abc import Callable, Mapping

import numpy as np

from tfscale.evaluation.base import Fold, Scored, State, Suite
from tfscale.evaluation.binary import Binary
from tfscale.evaluation.calibration import Calibration
from tfscale.evaluation.classification import Classification
from tfscale.evaluation.multilabel import Multilabel
from tfscale.evaluation.regression import Regression
from tfscale.evaluation.roc import Roc

N = 211


def classes(count: int = N, seed: int = 0) -> Scored:
    """Four classes, the last of which has no example and is never predicted; scores have ties."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, count)
    logits = random.normal(size=(count, 4)) + 2 * np.eye(4)[targets] - [0, 0, 0, 30]
    scores = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 2).astype(np.float32)
    return Scored(targets=targets.astype(np.int32), scores=scores, numbers=np.arange(count))


def yes_or_no(count: int = N, seed: int = 1) -> Scored:
    """Probabilities with many ties."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, (count, 1))
    scores = np.clip(np.round(0.5 * targets + 0.6 * random.random((count, 1)), 1), 0, 1).astype(np.float32)
    return Scored(targets=targets.astype(np.float32), scores=scores, numbers=np.arange(count))


def labels(count: int = N, seed: int = 2) -> Scored:
    """Ten labels, more than a byte of bits; the last one is nowhere true."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, (count, 10)) * (np.arange(10) < 9)
    scores = np.clip(np.round(0.4 * targets + 0.7 * random.random((count, 10)), 2), 0, 1).astype(np.float32)
    return Scored(targets=targets.astype(np.float32), scores=scores, numbers=np.arange(count))


def measurements(count: int = N, seed: int = 3) -> Scored:
    """Three columns, far from 0 with little variance, of many scales, and constant."""
    random = np.random.default_rng(seed)
    targets = random.normal(size=(count, 3)) * [1, 1e4, 0] + [1e4, 0, 3]
    scores = targets + random.normal(size=(count, 3)) * [0.5, 10 ** random.uniform(-5, 5), 1]
    return Scored(targets=targets.astype(np.float32), scores=scores.astype(np.float32), numbers=np.arange(count))


CASES: Mapping[str, tuple[Callable[[], Suite], Callable[..., Scored]]] = {
    "classification": (lambda: Classification(classes=4, names=("a", "b", "c", "d"), top_k=2), classes),
    "binary": (lambda: Binary(threshold=0.5, names=None), yes_or_no),
    "multilabel": (lambda: Multilabel(labels=10, threshold=0.5), labels),
    "roc of classes": (lambda: Roc(columns=4, names=None, targets="classes"), classes),
    "roc of yes or no": (lambda: Roc(columns=1, names=None, targets="labels"), yes_or_no),
    "roc of labels": (lambda: Roc(columns=10, names=None, targets="labels"), labels),
    "calibration of classes": (lambda: Calibration(columns=4, targets="classes"), classes),
    "calibration of yes or no": (lambda: Calibration(columns=1, targets="labels"), yes_or_no),
    "calibration of labels": (lambda: Calibration(columns=10, targets="labels"), labels),
    "regression": (lambda: Regression(columns=3), measurements),
    "regression of all as one column": (lambda: Regression(columns=1), measurements),
}
"""Case -> its suite, and examples for it."""


def state_of(suite: Suite, scored: Scored, *, batch: int) -> State:
    """Returns the state of examples that come in batches."""
    fold = Fold(suite)
    for start in range(0, len(scored.numbers), batch):
        part = slice(start, start + batch)
        fold.add(
            suite.of(Scored(targets=scored.targets[part], scores=scored.scores[part], numbers=scored.numbers[part]))
        )
    return fold.state()


def rows(scored: Scored, chosen: np.ndarray) -> Scored:
    """Returns the examples of some rows, in their order."""
    return Scored(targets=scored.targets[chosen], scores=scored.scores[chosen], numbers=scored.numbers[chosen])
