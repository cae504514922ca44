"""The plot of a forecast: samples per second against the number of replicas."""

from pathlib import Path

from tfscale.estimate.forecast import Forecast, rate


def draw(forecast: Forecast, path: Path) -> None:
    """Draws a line for each strategy, and one for replicas that exchange nothing.

    Args:
        forecast: What to draw.
        path: The picture; its ending gives the format.

    Raises:
        OSError: It cannot be written.
        ValueError: There is no such format.
    """
    from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    ranks, rows = list(forecast.ranks), forecast.rows()
    alone = [each * forecast.length.batch / forecast.alone for each in ranks]
    axes.plot(ranks, alone, color="0.6", linestyle="--", label="no exchange")
    for name in forecast.costs:
        speed = [row["samples_per_second"] for row in rows if row["strategy"] == name]
        axes.plot(ranks, speed, marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="replicas", ylabel="samples per second")
    axes.set_xticks(ranks, [f"{each:,}" for each in ranks])
    axes.minorticks_off()
    latency = f"{1e3 * forecast.link.latency:g} ms"
    axes.set_title(f"predicted speed over {rate(forecast.link.bandwidth)}, latency {latency}", loc="left")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
