"""Plots of the codec benchmark."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfscale.runs.panels import COLOURS, grid, scale

RATES = ("encode", "decode", "decode_4")
"""Measurements with a rate of all and a rate of sent elements, in millions a second."""


def draw(rows: Sequence[Mapping[str, Any]], bounds: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plots ratios and rates over the density, with a line style for each number of threads."""
    titles = ("dense pass: time / peer", "bits / entropy bound", "millions of D a second", "millions sent a second")
    figure, panels = grid(titles, columns=2, size=(11, 8))
    ratios = {"native": "over_peer", "native, momentum": "momentum_over_peer", "reference": "reference_over_peer"}
    dense, sent = ({name: f"{name}_{what}_M/s" for name in RATES} for what in ("dense", "sent"))
    threads = sorted({row["threads"] for row in rows})
    of = {number: [row for row in rows if row["threads"] == number] for number in threads}
    for style, (number, own) in zip(("-", "--", ":", "-."), of.items(), strict=False):
        for panel, lines in ((panels[0], ratios), (panels[2], dense), (panels[3], sent)):
            for (label, name), colour in zip(lines.items(), COLOURS, strict=False):
                shown = label.replace("_", " ") if number == threads[0] else None
                panel.plot(*_points(own, name), f"o{style}", color=colour, label=shown, markersize=4)
            panel.plot([], [], style, color="#555555", label=f"{number} thread{'s' * (number > 1)}")
    for each, colour in zip((of[threads[0]], bounds), COLOURS, strict=False):
        label = f"D = {each[0]['size']:,}" if each else None
        panels[1].plot(*_points(each, "bits_over_bound"), "o-", color=colour, label=label, markersize=4)
    for panel in panels:
        panel.set(xscale="log", xlabel="density")
        scale(panel)
        panel.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    return [row["density"] for row in rows], [row[name] for row in rows]
