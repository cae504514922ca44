"""The README's picture: time to an accuracy on links of three speeds, drawn from a table of figures.

usage: python -m tfscale.scripts.docs.slow_link_plot [TABLE.csv] [PICTURE.svg | PICTURE.png]

The table is docs/images/slow-link.csv by default, whose figures are those of recipes/sharing_slow_link.yaml (a test
holds them equal). scripts/bench/links.py measures them and has a plot of its own, for every column and number of ranks;
this one shows a single figure, on a linear axis, with its value beside each bar.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

IMAGES = Path(__file__).resolve().parent.parent.parent / "docs" / "images"
COLORS = {
    "allreduce fp32": "#9aa0a6",
    "allreduce fp16": "#c8ccd0",
    "sharing": "#8ab4f8",
    "sharing in rounds": "#1a73e8",
}
NOT_DRAWN = "10 Mbit/s"
"""The link on which an allreduce takes so long that the other bars would be invisible."""

TITLE = "Training time to 96 % test accuracy on MNIST"
SUBTITLE = "4 processes, MLP of 10.7 million parameters; shorter is better"
NOTE = "* measured time of a step times the 240 steps that an allreduce needs on any link"

Row = Mapping[str, str]


def read(path: Path) -> list[Row]:
    """Returns the rows of a table."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def label(row: Row) -> str:
    """Text beside a bar: seconds, minutes where there are many, and steps."""
    seconds = int(row["seconds"])
    time = f"{seconds} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    return f"{time}{'*' if row['extrapolated'] == 'yes' else ''}  ({row['steps']} steps)"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draws a group of bars for each link, a bar for each exchange."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "tfscale", "svg.fonttype": "none", "font.size": 11})
    rows = [row for row in rows if row["link"] != NOT_DRAWN]
    links, exchanges = (list(dict.fromkeys(row[key] for row in rows)) for key in ("link", "exchange"))
    figure, axes = pyplot.subplots(figsize=(8.6, 5.0))
    for row in rows:
        group, bar = links.index(row["link"]), exchanges.index(row["exchange"])
        y, strong = group * (len(exchanges) + 0.8) + bar, row["exchange"] == "sharing in rounds"
        axes.barh(y, float(row["seconds"]), 0.86, color=COLORS[row["exchange"]])
        weight = "bold" if strong else "normal"
        axes.text(float(row["seconds"]) + 12, y, f"{row['exchange']}:  {label(row)}", va="center", weight=weight)
    axes.set_yticks([group * (len(exchanges) + 0.8) + 1.5 for group in range(len(links))], links, weight="bold")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.62 * max(float(row["seconds"]) for row in rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{TITLE}\n", loc="left", weight="bold")
    axes.text(0, 1.03, SUBTITLE, transform=axes.transAxes, color="#5f6368")
    axes.text(0, -0.06, NOTE, transform=axes.transAxes, color="#5f6368", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def main(words: Sequence[str]) -> int:
    """Draws the picture of a table."""
    defaults = [str(IMAGES / "slow-link.csv"), str(IMAGES / "slow-link.svg")]
    table, picture = (Path(word) for word in [*words, *defaults[len(words) :]])
    draw(read(table), picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
