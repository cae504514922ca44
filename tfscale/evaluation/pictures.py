"""Pictures of an evaluation, for the run directory.

matplotlib takes half a second to import, and is imported when there is something to draw; its object interface needs no
screen and changes no global state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve: TypeAlias = tuple[str, np.ndarray, np.ndarray]
"""Label, x and y."""

LEGEND = 12
"""Curves up to which each has a name in the legend."""

WRITTEN = 20
"""Classes up to which a confusion matrix has numbers in its cells."""

NAMED = 40
"""Classes up to which a confusion matrix has names at its sides."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccaa33")
"""Paul Tol's bright scheme, safe for colour-blind readers."""

DPI = 110


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _saved(figure: "Figure", path: Path) -> Path:
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def confusion_matrix(matrix: np.ndarray, names: Sequence[str], path: Path) -> Path:
    """Draws counts [true, predicted], coloured by the share of their row."""
    classes = len(matrix)
    size = min(10.0, 3.5 + 0.35 * classes)
    figure, (panel,) = _figure(size + 0.6, size)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = panel.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=panel, fraction=0.046).set_label("share of the true class", fontsize=8)
    if classes <= NAMED:
        panel.set_xticks(range(classes), names, rotation=90 if max(map(len, names)) > 3 else 0)
        panel.set_yticks(range(classes), names)
    if classes <= WRITTEN:
        for row, column in np.argwhere(matrix > 0):
            colour = "white" if share[row, column] > 0.5 else "#222222"
            panel.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=8, color=colour)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    panel.set_title("Confusion matrix", fontsize=10)
    return _saved(figure, path)


def curves(drawn: Sequence[Curve], axes: tuple[str, str], path: Path) -> Path:
    """Draws curves from 0 to 1."""
    figure, (panel,) = _figure(5.5, 5)
    for number, (label, x, y) in enumerate(drawn):
        style = ("-", "--", ":")[number // len(COLOURS) % 3]
        panel.plot(x, y, style, color=COLOURS[number % len(COLOURS)], label=label, linewidth=1.4)
    panel.set(xlabel=axes[0], ylabel=axes[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    panel.grid(True, color="#e4e4e4", linewidth=0.7)
    if 1 < len(drawn) <= LEGEND:
        panel.legend(fontsize=8)
    return _saved(figure, path)


def reliability(points: Sequence[tuple[float, float]], histogram: np.ndarray, error: float, path: Path) -> Path:
    """Draws observed rates over predicted probabilities, and below them how often each probability occurs."""
    figure, (above, below) = _figure(5.5, 6, rows=2)
    above.plot([0, 1], [0, 1], "--", color="#999999", linewidth=1)
    above.plot([x for x, _ in points], [y for _, y in points], "o-", color=COLOURS[0], markersize=4)
    above.set(ylabel="observed rate", xlim=(0, 1), ylim=(0, 1))
    above.set_title(f"Reliability: expected calibration error {error:.4f}", fontsize=10)
    edges = np.linspace(0, 1, len(histogram) + 1)
    below.bar(edges[:-1], histogram, width=1 / len(histogram), align="edge", color=COLOURS[0])
    below.set(xlabel="predicted probability", ylabel="predictions", xlim=(0, 1))
    return _saved(figure, path)


def residuals(points: np.ndarray, names: Sequence[str], path: Path) -> Path:
    """Draws predictions over targets, and residuals over predictions.

    Args:
        points: [n, columns, 2], target and prediction.
        names: Of the columns.
        path: Of the picture.
    """
    columns = points.shape[1]
    figure, panels = _figure(8, 3.6 * columns, rows=columns, columns=2)
    for number, name in enumerate(names):
        true, predicted = points[:, number].T
        of, left = panels[2 * number : 2 * number + 2]
        low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        of.plot([low, high], [low, high], "--", color="#999999", linewidth=1)
        of.plot(true, predicted, ".", color=COLOURS[0], markersize=3)
        of.set(xlabel="target", ylabel="prediction")
        left.axhline(0, color="#999999", linestyle="--", linewidth=1)
        left.plot(predicted, predicted - true, ".", color=COLOURS[1], markersize=3)
        left.set(xlabel="prediction", ylabel="prediction - target")
        if columns > 1:
            of.set_title(f"column {name}", fontsize=10)
    return _saved(figure, path)
