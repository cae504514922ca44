"""Panels of a picture: grids, lines with a band around them, and axes that become logarithmic where values differ much.

matplotlib takes half a second to import and is imported only when there is something to draw; its object interface
needs no screen and changes no global state.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfscale.runs.trends import Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRETCH = 4.0
"""Ratio of the largest to the smallest value above which an axis is logarithmic."""

DOTS = 60
"""Number of points up to which each has a marker."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccaa33")
"""Paul Tol's bright scheme, safe for colour-blind readers."""


def grid(titles: Sequence[str], *, columns: int, size: tuple[float, float]) -> tuple["Figure", list["Axes"]]:
    """Returns an empty figure with panels that share the horizontal axis, row by row.

    Args:
        titles: Of the panels.
        columns: Of the grid.
        size: Width and height in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    rows = math.ceil(len(titles) / columns)
    panels = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    for empty in panels[len(titles) :]:
        empty.remove()
    panels = panels[: len(titles)]
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color="#222222")
        panel.grid(True, color="#e4e4e4", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8, color="#999999", labelcolor="#333333")
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color("#999999")
    return figure, panels


def line(panel: "Axes", trend: Trend, colour: str, *, label: str | None = None, style: str = "-") -> None:
    """Draws the medians; few points have markers."""
    dot = "." if len(trend.steps) <= DOTS else None
    panel.plot(trend.steps, trend.middle, style, marker=dot, color=colour, label=label, linewidth=1.4)


def band(panel: "Axes", trend: Trend, colour: str, *, label: str | None = None) -> None:
    """Draws the medians, and a band from the 10th to the 90th percentile."""
    panel.fill_between(trend.steps, trend.low, trend.high, color=colour, alpha=0.2, linewidth=0)
    line(panel, trend, colour, label=label)


def scale(panel: "Axes", *, above: float = STRETCH) -> None:
    """Makes the axis of a panel logarithmic if its values differ by a factor of more than `above`.

    A zero, which has no place there, becomes a gap.
    """
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

    trends = [np.asarray(drawn.get_ydata(), dtype=float) for drawn in panel.lines]
    values = np.concatenate([np.zeros(0), *(trend[trend > 0] for trend in trends)])
    stretch = values.max() / values.min() if values.size else 1.0
    if stretch <= above:
        return
    for drawn, trend in zip(panel.lines, trends, strict=True):
        drawn.set_ydata(np.where(trend > 0, trend, np.nan))
    panel.set_yscale("log")
    digits = range(1, 10) if stretch <= STRETCH else (1, 2, 5) if stretch < 1000 else (1,)
    large = EngFormatter(sep="")
    panel.yaxis.set_major_locator(LogLocator(subs=digits, numticks=12))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1000 else large(value)))
    panel.yaxis.set_minor_formatter(NullFormatter())


def legend(panel: "Axes") -> None:
    """Shows the labels of a panel, if it has any."""
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=8, frameon=False, ncols=3)
