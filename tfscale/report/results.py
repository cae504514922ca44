"""Results of runs as rows for a person: what a run ended with, which of several is best, and in which direction."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tfscale.report.read import Run
from tfscale.tracking.tables import human_bytes

SMALLER = ("loss", "error", "mae", "mse", "rmse", "perplexity", "bpc", "entropy", "distance", "seconds")
"""Parts of the names of metrics of which a small value is better, where a run has not recorded the direction."""


def number(value: object) -> float | None:
    """The value as a float; None if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    return float(value)


def metrics(run: Run) -> dict[str, float | None]:
    """Returns the results of a run by name, the first metric first; those of validation begin with val_."""
    names = run.summary.get("metrics")
    known = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    losses = [name for name in ("loss", "val_loss") if name in run.summary]
    return {name: number(run.summary.get(name)) for name in dict.fromkeys([*known, *losses])}


def direction(runs: Sequence[Run], metric: str) -> str:
    """Returns min or max, the better direction of a metric: as the runs recorded it, else by its name."""
    name = metric.removeprefix("val_")
    for run in runs:
        recorded = run.summary.get("directions")
        known = (recorded.get(metric), recorded.get(name)) if isinstance(recorded, dict) else ()
        if found := next((each for each in known if each in ("min", "max")), None):
            return found
    parts = name.lower().split("_")
    return "min" if any(word in parts or name.lower().endswith(word) for word in SMALLER) else "max"


def best(runs: Sequence[Run], metric: str) -> int | None:
    """Returns the index of the run with the best value of a metric; None if no run has one."""
    values = {index: value for index, run in enumerate(runs) if (value := metrics(run).get(metric)) is not None}
    if not values:
        return None
    choose = min if direction(runs, metric) == "min" else max
    return choose(values, key=lambda index: values[index])


def spoken(metric: str) -> str:
    """The name of a result: `validation accuracy`, `test top3`."""
    split = "validation" if metric.startswith("val_") else "test"
    return f"{split} {metric.removeprefix('val_').replace('_', ' ')}"


def short(value: float | None) -> str:
    """A number with four digits, with thousands separated; empty for none."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: 1.9 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def date(seconds: object) -> str:
    """A date in the time zone of this machine; empty for none."""
    value = number(seconds)
    if value is None:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    except (OverflowError, ValueError, OSError):
        return ""


def rows(run: Run) -> list[tuple[str, str]]:
    """Returns the closing table of a run: label and text."""
    summary = run.summary
    found = [(spoken(name), short(value) or "not finite") for name, value in metrics(run).items()]
    if "ended_early" in summary:
        found.append(("ended early", str(summary["ended_early"])))
    if (best_step := number(summary.get("best_step"))) is not None and best_step >= 0:
        found.append(("best evaluation", f"{short(number(summary.get('best')))} after step {best_step:,.0f}"))
    found.append(("steps", _steps(run)))
    for label, key, show in (
        ("time of training", "training_seconds", duration),
        ("first step", "first_step_seconds", duration),
        ("speed", "samples_per_second", lambda value: f"{value:,.0f} samples/s"),
        ("replicas", "replicas", lambda value: f"{value:,.0f}"),
        ("processes", "processes", lambda value: f"{value:,.0f}"),
        ("global batch", "global_batch", lambda value: f"{value:,.0f}"),
        ("trainable parameters", "trainable_parameters", lambda value: f"{value:,.0f}"),
        ("skipped steps", "skipped_steps", lambda value: f"{value:,.0f}" if value else ""),
        ("skipped examples", "skipped_examples", lambda value: f"{value:,.0f}" if value else ""),
    ):
        if (value := number(summary.get(key))) is not None and (text := show(value)):
            found.append((label, text))
    if traffic := bytes_sent(summary):
        found.append(("bytes exchanged", traffic))
    return [*((label, text) for label, text in found if text), *_means(run)]


def _steps(run: Run) -> str:
    epochs, examples = number(run.summary.get("epochs")), number(run.summary.get("examples"))
    if run.step is None:
        return ""
    more = f" ({epochs:g} epochs, {examples:,.0f} examples)" if epochs is not None and examples is not None else ""
    return f"{run.step:,}{more}"


def bytes_sent(summary: Mapping[str, Any]) -> str:
    """The bytes that were exchanged beside those of an allreduce at every step; empty if none were or it is unknown."""
    sent, dense = number(summary.get("bytes_sent")), number(summary.get("bytes_dense"))
    if sent is None or not dense:
        return ""
    ratio = f"; {dense / sent:,.3g} times fewer" if sent and dense > sent else ""
    return f"{human_bytes(sent)}; an allreduce every step: {human_bytes(dense)}{ratio}"


def _means(run: Run) -> list[tuple[str, str]]:
    found = []
    for name, value in run.summary.items():
        mean = number(value)
        if not name.startswith("mean_") or mean is None or not math.isfinite(mean):
            continue
        figure = name.removeprefix("mean_")
        facts = run.figures.get(figure, {})
        label = str(facts.get("label", figure.replace("_", " "))) if isinstance(facts, dict) else figure
        if figure in ("seconds", "data_seconds"):
            what = "step" if figure == "seconds" else "wait for data"
            found.append((f"mean {what}", f"{1e3 * mean:.3g} ms"))
        elif figure.endswith("_ms"):
            found.append((f"mean {label}", f"{mean:.3g} ms"))
        else:
            goal = f" ({facts['goal']})" if isinstance(facts, dict) and facts.get("goal") else ""
            found.append((f"mean {label}", f"{mean:.3g}{goal}"))
    return found
