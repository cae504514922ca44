"""The picture of quality against bytes in docs/strategies.md, drawn from a table of figures.

usage: python -m tfscale.scripts.docs.bytes_plot [TABLE.csv] [PICTURE.svg | PICTURE.png]

The table is docs/images/bytes.csv by default: a row for each run, with the test accuracy, the training loss of the last
tenth of its steps, and how many times fewer bytes it sent than an allreduce. A row with 1 is that allreduce, which both
panels show as a line.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tfscale.scripts.docs.slow_link_plot import IMAGES, Row, read

STYLES = {
    "sharing, every step": ("#1a73e8", "o"),
    "sharing in rounds": ("#1a73e8", "s"),
    "sharing in rounds, outer": ("#0b3d91", "D"),
    "averaging": ("#9aa0a6", "^"),
    "averaging, outer": ("#5f6368", "v"),
    "DiLoCo": ("#e8710a", "P"),
    "SparseLoCo": ("#d93025", "X"),
}
"""Method -> color and marker."""

PANELS = {"accuracy": "test accuracy", "loss": "training loss, last tenth"}
TITLE = "LeNet on Fashion-MNIST, four replicas, 4,690 steps, one seed"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draws a panel for each figure, a point for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "tfscale", "svg.fonttype": "none", "font.size": 10})
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for panel, (key, label) in zip(panels, PANELS.items(), strict=True):
        for method, (color, marker) in STYLES.items():
            own = [row for row in rows if row["method"] == method]
            places = [float(row["times"]) for row in own]
            panel.scatter(places, [float(row[key]) for row in own], s=46, c=color, marker=marker, label=method)
        for row in rows:
            if row["times"] == "1":
                panel.axhline(float(row[key]), color="#000000", linewidth=1, linestyle="--", label="allreduce")
        panel.set_xscale("log")
        panel.set_xlabel("times fewer bytes than an allreduce")
        panel.set_title(label, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, frameon=False)
    figure.suptitle(TITLE, x=0.01, ha="left", weight="bold")
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def main(words: Sequence[str]) -> int:
    """Draws the picture of a table."""
    defaults = [str(IMAGES / "bytes.csv"), str(IMAGES / "bytes.svg")]
    table, picture = (Path(word) for word in [*words, *defaults[len(words) :]])
    draw(read(table), picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
