"""The bench of links as a picture: a group of bars for each link and number of processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def plot(rows: Sequence[Mapping[str, object]], place: Path) -> None:
    """Draws step time and time to the target: a group for each link and number of ranks, a bar for each column."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = list(dict.fromkeys((row["link"], row["ranks"]) for row in rows))
    columns = list(dict.fromkeys(str(row["what"]) for row in rows))
    figure, panels = pyplot.subplots(1, 2, figsize=(12, 5))
    for panel, key, title in zip(
        panels, ("step_ms", "seconds_to_target"), ("step time, ms", "time to target, s"), strict=True
    ):
        for index, column in enumerate(columns):
            bars = [row for row in rows if row["what"] == column and row[key] is not None]
            places = [groups.index((row["link"], row["ranks"])) + index * 0.8 / len(columns) for row in bars]
            hatches = ["//" if row["extrapolated"] and key != "step_ms" else "" for row in bars]
            heights = [float(str(row[key])) for row in bars]
            panel.bar(places, heights, 0.8 / len(columns), align="edge", label=column, hatch=hatches)
        panel.set_xticks(
            [each + 0.4 for each in range(len(groups))], [f"{link}\n{ranks} ranks" for link, ranks in groups]
        )
        panel.set_yscale("log")
        panel.set_title(f"{title} (hatched: extrapolated)" if key != "step_ms" else title)
        panel.legend()
    figure.tight_layout()
    figure.savefig(place, dpi=120)
