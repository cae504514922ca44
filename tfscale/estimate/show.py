"""A forecast as a person and as a program reads it."""

import math
from collections.abc import Mapping
from dataclasses import asdict

from tfscale.estimate.forecast import WORTHWHILE, Forecast, Row, rate
from tfscale.tracking.tables import human_bytes, person_console, print_line, results_table


def document(forecast: Forecast, parameters: int) -> Mapping[str, object]:
    """Returns all figures, for programs: seconds, bytes, and bytes per second; null for infinity."""
    ranks = forecast.ranks[-1]
    return {
        "parameters": parameters,
        "bandwidth": _finite(forecast.link.bandwidth),
        "latency": forecast.link.latency,
        "transport": asdict(forecast.transport),
        "step_seconds_alone": forecast.alone,
        "measured": {
            name: {
                "step_seconds": costs.seconds,
                "seconds_a_peer": costs.seconds_a_peer,
                "traffic": [asdict(each) for each in costs.traffic],
            }
            for name, costs in forecast.costs.items()
        },
        "estimates": forecast.rows(),
        "needed_bandwidth": {name: _finite(needed) for name, needed in forecast.needs(ranks).items()},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def print_for_person(forecast: Forecast, parameters: int) -> None:
    """Prints the forecast for a person."""
    console, over, most = person_console(), forecast.link, forecast.ranks[-1]
    title = (
        f"{parameters:,} parameters; a step of {forecast.length.batch} examples takes {1e3 * forecast.alone:.1f} ms "
        f"here without any exchange; {rate(over.bandwidth)}, latency {1e3 * over.latency:.3g} ms, one replica a machine"
    )
    results_table(console, title, [_shown(row) for row in forecast.rows()])
    for ranks in forecast.ranks:
        if ranks > 1:
            print_line(console, f"{ranks:,} replicas: {forecast.fastest(ranks)} is the fastest")
    if most == 1:
        return
    added = ", ".join(
        f"{name} {1e3 * (each.seconds - forecast.alone):.3g} ms" for name, each in forecast.estimates(most).items()
    )
    allowed = 1e3 * forecast.alone * (1 / WORTHWHILE - 1)
    print_line(
        console,
        f"a step may take {allowed:.3g} ms more than that for an efficiency of {WORTHWHILE:g}; with {most:,} replicas "
        f"it takes more by: {added}",
    )
    needs = ", ".join(
        f"{name} {rate(needed) if math.isfinite(needed) else 'none is enough'}"
        for name, needed in forecast.needs(most).items()
    )
    print_line(console, f"bandwidth for an efficiency of {WORTHWHILE:g} with {most:,} replicas: {needs}")


def _shown(row: Row) -> Mapping[str, object]:
    """Returns a row with figures as a person reads them."""
    shown = {
        "ranks": row["ranks"],
        "strategy": f"{row['strategy']}{' *' if row['fastest'] else ''}",
        "ms a step": 1e3 * row["step_seconds"],
        "sent a step": human_bytes(row["bytes_a_step"]),
        "efficiency": f"{row['efficiency']:.2f}",
        "samples/s": row["samples_per_second"],
        "steps": row["steps"],
        "time": _clock(row["seconds"]),
    }
    return {**shown, "cost": f"{row['cost']:,.2f}"} if "cost" in row else shown


def _clock(seconds: float) -> str:
    """Returns a duration as hours:minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:,}:{minutes % 60:02}:{rest:02}"
