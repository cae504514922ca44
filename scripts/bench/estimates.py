"""Holds `tfscale estimate` against real jobs on emulated slow links; needs root.

usage: python -m tfscale.scripts.bench.estimates [--models ...] [--rates 100mbit ...] [--strategies ...] [--choose]
    [--json FILE]

Two processes with one thread each train over each link with each strategy (see `links`), and the mean time of their
steps is put beside the estimate. They share the memory and the caches of one machine, which an estimate for one replica
a machine does not know; so what a replica computes is measured by two estimates at the same time.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfscale.scripts.bench.links import Row, check_machine, collected, run
from tfscale.scripts.bench.links_worker import Task

from tfscale.commands.link import of_this_machine
from tfscale.config.preflight import check_job, preflight
from tfscale.config.strategy_settings import compared
from tfscale.estimate.link import Link, parse_rate
from tfscale.estimate.model import Costs, estimate

RANKS = 2
LATENCY = 50e-6
"""Seconds from one namespace to another."""

MODELS: Mapping[str, Sequence[str]] = {
    "mlp": ["model=mlp", "model.hidden=[2900,2900]", "data=fashion_mnist", "optimizer=nesterov", "train.batch=64"],
    "lenet": ["model=lenet", "data=fashion_mnist", "optimizer=nesterov", "train.batch=64"],
    "gru": ["model=gru", "data=shakespeare", "optimizer=adam", "train.batch=16"],
}
STRATEGIES = compared()

WARM_UP = 48
"""Steps that are not measured, at most: Horovod and thresholds settle."""

SECONDS = 20.0
"""Intended duration of a measurement."""

PATIENCE = 400.0
"""Seconds after which a measurement ends at a step's end."""


def costs_of(model: Sequence[str], strategies: Sequence[str]) -> dict[str, Costs]:
    """Returns what two replicas, on a core each, need for a step with each strategy, by its name."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(RANKS), context.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0))[:RANKS]
    running = [
        context.Process(target=_measure_costs, args=(model, strategies, core, barrier, results), daemon=True)
        for core in cores
    ]
    for process in running:
        process.start()
    measured = [results.get() for _ in running]
    for process in running:
        process.join()
    return {
        name: Costs(
            rounds=[seconds for each in measured for seconds in each[name].rounds],
            seconds_a_peer=statistics.fmean(each[name].seconds_a_peer for each in measured),
            traffic=measured[0][name].traffic,
        )
        for name in strategies
    }


def _measure_costs(model: Sequence[str], strategies: Sequence[str], core: int, barrier: Any, results: Any) -> None:
    """Measures every strategy on one core, at the same time as another process does; puts them into the queue."""
    os.sched_setaffinity(0, {core})
    configs = {
        name: check_job(preflight([*model, *STRATEGIES[name], "launch.threads=1"], config_dir=None), processes=RANKS)
        for name in strategies
    }
    from tfscale.job.measure_costs import Measurer

    measurer, costs = Measurer(next(iter(configs.values()))), {}
    for name, config in configs.items():
        barrier.wait()
        costs[name] = measurer.costs(config)
    results.put(costs)


def measured(model: Sequence[str], strategy: str, link: str, *, every: int, expected: float) -> float:
    """Returns the mean seconds of a step over the link, in rounds of `every` steps."""
    warm_up = every * max(1, min(WARM_UP, int(SECONDS / expected)) // every)
    rounds = max(2, round(SECONDS / expected / every))
    task = Task(
        column="sharing",
        batch=0,
        rate=0.0,
        steps=warm_up + rounds * every,
        target=None,
        every=1,
        limit=PATIENCE,
        folder="",
        overrides=[*model, *STRATEGIES[strategy], "train.steps=1000000"],
    )
    seconds = [each.seconds[warm_up:] for each in run(task, ranks=RANKS, link=link, threads=1)]
    return statistics.fmean(statistics.fmean(each) for each in seconds)


def chosen(model: Sequence[str], link: str, *, candidates: Sequence[str], limit: float) -> str:
    """Returns the strategy that strategy=auto chooses on the link."""
    added = [word for number, name in enumerate(candidates) for word in _as_candidate(f"c{number}", STRATEGIES[name])]
    words = ["strategy=auto", "~strategy.candidates.horovod", "~strategy.candidates.sharing", *added]
    task = Task(
        column="sharing",
        batch=0,
        rate=0.0,
        steps=1,
        target=None,
        every=1,
        limit=limit,
        folder="",
        overrides=[*model, *words, "train.steps=1000000"],
    )
    trial = run(task, ranks=RANKS, link=link, threads=1)[0].trial
    return candidates[min(range(len(candidates)), key=lambda number: trial[f"c{number}"])]


def _as_candidate(name: str, words: Sequence[str]) -> list[str]:
    """Returns the words that add a strategy to the candidates of strategy=auto."""
    (_, option), *values = (word.split("=", 1) for word in words)
    own = [f"{key.replace('strategy.', f'strategy.candidates.{name}.', 1)}={value}" for key, value in values]
    return [f"+strategy@strategy.candidates.{name}={option}", *own]


def bench(arguments: argparse.Namespace) -> Iterator[Row]:
    """Gives each row as soon as there is one."""
    transport = of_this_machine()
    for name in arguments.models:
        costs = costs_of(MODELS[name], arguments.strategies)
        alone = min(each.seconds for each in costs.values())
        for rate in arguments.rates:
            link = Link(bandwidth=parse_rate("--rates", rate), latency=LATENCY)
            times: dict[str, float] = {}
            for strategy in arguments.strategies:
                predicted = estimate(costs[strategy], alone=alone, ranks=RANKS, link=link, transport=transport)
                expected = predicted.seconds
                every = max(each.every for each in costs[strategy].traffic)
                actual = times[strategy] = measured(MODELS[name], strategy, rate, every=every, expected=expected)
                row: Row = {
                    "model": name,
                    "link": rate,
                    "strategy": strategy,
                    "estimated_ms": round(1e3 * expected, 2),
                    "measured_ms": round(1e3 * actual, 2),
                    "estimated/measured": round(expected / actual, 3),
                }
                print(json.dumps(row), file=sys.stderr, flush=True)
                yield row
            if arguments.choose:
                choice = chosen(MODELS[name], rate, candidates=arguments.strategies, limit=20 * max(times.values()))
                row = {
                    "model": name,
                    "link": rate,
                    "strategy": f"auto chooses {choice}",
                    "estimated_ms": None,
                    "measured_ms": round(1e3 * times[choice], 2),
                    "estimated/measured": None,
                }
                print(json.dumps(row), file=sys.stderr, flush=True)
                yield row


def main() -> int:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--rates", nargs="+", default=["100mbit", "10mbit"])
    parser.add_argument(
        "--strategies", nargs="+", choices=list(STRATEGIES), default=["horovod", "horovod_averaging", "sharing"]
    )
    parser.add_argument("--choose", action="store_true", help="also let strategy=auto choose on each link")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    check_machine()
    title = "estimated and measured steps"
    return collected(bench(arguments), arguments.json, bench_name="bench_estimates", title=title)[1]


if __name__ == "__main__":
    sys.exit(main())
