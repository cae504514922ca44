"""`tfscale estimate`: measures a job on this machine and predicts how it scales over a link, strategy by strategy."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from tfscale import user_paths
from tfscale.commands import link, prepare
from tfscale.config import preflight
from tfscale.config.overrides import Override, key_of, parse, separate
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import compared
from tfscale.errors import UserError
from tfscale.estimate import plot
from tfscale.estimate.forecast import WORTHWHILE, Forecast, Length, Row, rate
from tfscale.estimate.link import Link, parse_rate, parse_seconds
from tfscale.startup_noise import hidden_startup_noise
from tfscale.terminal import logger
from tfscale.tracking.tables import human_bytes, person_console, print_line, results_table
from tfscale.world import from_environment

KEYS = ("link", "latency", "ranks", "price", "plot")
"""The command's own keys."""

YOURS = "your strategy"
"""Name of the strategy that the command line sets."""

NOT_SIMULATED: Mapping[str, object] = {"warmup": 0, "flush_every": None, "auto": False}
"""Options of dense steps, and the values that an estimate measures: simulated peers have no digests to compare."""

ENDINGS = (".svg", ".png", ".pdf")
"""Of a plot."""

MOST_RANKS = 1 << 16
MOST_NUMBERS = 20
"""Of replicas, in one table."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's own settings.

    Attributes:
        link: Between the replicas; None to measure it.
        ranks: Numbers of replicas, ascending.
        price: Of a replica and hour; None for none.
        plot: File of the plot; None for none.
    """

    link: Link | None
    ranks: Sequence[int]
    price: float | None
    plot: Path | None


def main(flags: argparse.Namespace) -> int:
    """Measures, predicts and prints.

    Raises:
        UserError: A setting is wrong.
    """
    if from_environment() is not None:
        raise UserError("estimate measures with one process; type it without horovodrun, mpirun or srun")
    given, rest = separate(parse([_as_list(word) for word in flags.overrides]), KEYS)
    options = options_of(given)
    configs = _configs(rest, flags.config_dir)
    if options.link is None:
        link.processes_of(next(iter(configs.values())))
    forecast, parameters = _measured(configs, options)
    if options.plot is not None:
        _draw(forecast, options.plot)
    if flags.json:
        print(json.dumps(_document(forecast, parameters), indent=1))
    else:
        _print(forecast, parameters)
    return 0


def options_of(given: Mapping[str, str]) -> Options:
    """Returns the command's own settings.

    Raises:
        UserError: Every one that is wrong.
    """
    problems, values = [], {}
    readers = {
        "link": lambda text: None if text == "measure" else parse_rate("link", text),
        "latency": lambda text: parse_seconds("latency", text),
        "ranks": _ranks,
        "price": _price,
        "plot": _plot,
    }
    defaults = {"link": "1Gbit", "latency": "0.1ms", "ranks": "[2,4,8,16,64]", "price": "null", "plot": "null"}
    for key, read in readers.items():
        try:
            values[key] = read(given.get(key, defaults[key]))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    if values["link"] is None and "latency" in given:
        raise UserError(f"latency={given['latency']} has no effect with link=measure, which measures it; leave it out")
    given_link = None if values["link"] is None else Link(bandwidth=values["link"], latency=values["latency"])
    return Options(link=given_link, ranks=values["ranks"], price=values["price"], plot=values["plot"])


def _as_list(word: str) -> str:
    """Returns ranks=2,8 as ranks=[2,8]: there is no sweep over numbers of replicas."""
    key, _, value = word.partition("=")
    return f"{key}=[{value}]" if key == "ranks" and not value.startswith("[") else word


def _ranks(text: str) -> Sequence[int]:
    words = [word.strip() for word in text.strip("[] ").split(",")]
    numbers = sorted({int(word) for word in words if word.isascii() and word.isdecimal()})
    wrong = not all(word.isascii() and word.isdecimal() and 1 <= int(word) <= MOST_RANKS for word in words)
    if wrong or len(numbers) > MOST_NUMBERS:
        raise UserError(
            f"ranks must be up to {MOST_NUMBERS} whole numbers from 1 to {MOST_RANKS:,}, got {text}; type ranks=2,8,64"
        )
    return numbers


def _price(text: str) -> float | None:
    if text == "null":
        return None
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise UserError(f"price must be a number >= 0, of one replica and hour, got {text}")
    return price


def _plot(text: str) -> Path | None:
    if text == "null":
        return None
    path = user_paths.expanded(text)
    if path.suffix not in ENDINGS:
        raise UserError(f"plot must be a file that ends in {', '.join(ENDINGS)}, got {text}")
    if not user_paths.is_dir(path.parent):
        raise UserError(f"plot={text} lies in a folder that does not exist; make it first: mkdir {path.parent}")
    return path


def _configs(words: Sequence[Override], config_dir: str | None) -> dict[str, Config]:
    """Returns the configuration of each strategy, checked.

    Raises:
        UserError: The settings are wrong with the strategy of the command line, or with all others.
    """
    own = [str(each.input_line) for each in words]
    shared = [str(each.input_line) for each in words if key_of(each).split("/")[0].split(".")[0] != "strategy"]
    configs = {} if own == shared else {YOURS: _config(own, config_dir)}
    problems: dict[str, UserError] = {}
    for name, strategy in compared().items():
        try:
            configs[name] = _config([*shared, *strategy], config_dir)
        except UserError as error:
            problems[name] = error
    if not configs:
        raise next(iter(problems.values()))
    for name, error in problems.items():
        logger.warning(f"warning: {name} is left out: {error.problems[0]}")
    return configs


def _config(words: Sequence[str], config_dir: str | None) -> Config:
    config = preflight.check_job(prepare.config_of(words, config_dir).config, processes=2)
    strategy = config.strategy
    changed = {key: value for key, value in NOT_SIMULATED.items() if strategy.get(key, value) != value}
    if changed:
        logger.warning(
            f"warning: the estimate leaves out dense steps: {', '.join(f'strategy.{key}' for key in changed)}"
        )
    if strategy.get("reproducible"):
        raise UserError(
            "estimate cannot simulate the peers of strategy.reproducible=true; set strategy.reproducible=false"
        )
    return config.model_copy(update={"strategy": {**strategy, **changed}})


def _measured(configs: Mapping[str, Config], options: Options) -> tuple[Forecast, int]:
    """Returns the forecast, and the number of trainable parameters."""
    with hidden_startup_noise():
        from tfscale.job.measure_costs import Measurer
    first = next(iter(configs.values()))
    logger.info("measuring exchanges between processes")
    transport = link.of_this_machine()
    if (between := options.link) is None:
        between = link.between_processes(first, local=transport)
    measurer = Measurer(first)
    costs = {}
    for number, (name, config) in enumerate(configs.items(), 1):
        logger.info(f"measuring on this machine, {number} of {len(configs)}: {name}")
        costs[name] = measurer.costs(config)
    length = Length(
        steps=first.train.steps, epochs=first.train.epochs, examples=measurer.examples, batch=first.train.batch
    )
    forecast = Forecast(
        costs=costs, link=between, transport=transport, ranks=options.ranks, length=length, price=options.price
    )
    return forecast, measurer.parameters


def _draw(forecast: Forecast, path: Path) -> None:
    try:
        plot.draw(forecast, path)
    except OSError as error:
        raise UserError(f"plot={path} cannot be written: {error.strerror}") from None


def _document(forecast: Forecast, parameters: int) -> Mapping[str, object]:
    """Returns all figures, for programs: seconds, and bytes per second."""
    return {
        "parameters": parameters,
        "bandwidth": forecast.link.bandwidth if math.isfinite(forecast.link.bandwidth) else None,
        "latency": forecast.link.latency,
        "transport": asdict(forecast.transport),
        "step_seconds_alone": forecast.alone,
        "measured": {name: asdict(costs) for name, costs in forecast.costs.items()},
        "estimates": forecast.rows(),
    }


def _print(forecast: Forecast, parameters: int) -> None:
    """Prints the forecast for a person."""
    console, over = person_console(), forecast.link
    title = (
        f"{parameters:,} parameters; a step of {forecast.length.batch} examples takes {1e3 * forecast.alone:.1f} ms "
        f"here without any exchange; {rate(over.bandwidth)}, latency {1e3 * over.latency:.3g} ms, one replica a machine"
    )
    results_table(console, title, [_shown(row) for row in forecast.rows()])
    for ranks in forecast.ranks:
        if ranks > 1:
            print_line(console, f"{ranks:,} replicas: {forecast.fastest(ranks)} is the fastest")
    ranks = forecast.ranks[-1]
    waits = ", ".join(f"{name} {1e3 * each.exchanging:.3g} ms" for name, each in forecast.estimates(ranks).items())
    allowed = 1e3 * forecast.alone * (1 / WORTHWHILE - 1)
    print_line(
        console,
        f"a step may wait {allowed:.3g} ms for an efficiency of {WORTHWHILE:g}; with {ranks:,} replicas it waits for "
        f"{waits}",
    )
    needs = ", ".join(
        f"{name} {rate(needed) if math.isfinite(needed) else 'none is enough'}"
        for name, needed in forecast.needs(ranks).items()
    )
    print_line(console, f"bandwidth for an efficiency of {WORTHWHILE:g} with {ranks:,} replicas: {needs}")


def _shown(row: Row) -> Mapping[str, object]:
    """Returns a row with figures as a person reads them."""
    shown = {
        "ranks": row["ranks"],
        "strategy": f"{row['strategy']}{' *' if row['fastest'] else ''}",
        "ms a step": row["ms_a_step"],
        "sent a step": human_bytes(row["bytes_a_step"]),
        "efficiency": f"{row['efficiency']:.2f}",
        "samples/s": row["samples_per_second"],
        "steps": row["steps"],
        "time": str(timedelta(seconds=round(row["seconds"]))),
    }
    return {**shown, "cost": f"{row['cost']:,.2f}"} if "cost" in row else shown
