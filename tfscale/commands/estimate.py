"""`tfscale estimate`: measures a job on this machine and predicts how it scales over a link, strategy by strategy."""

import argparse
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfscale import user_paths
from tfscale.collectives.traffic import SCATTER_FROM
from tfscale.commands import link, prepare
from tfscale.config import preflight
from tfscale.config.overrides import Override, parse, separate
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import candidates_of, compared, in_steady_state, settings_of
from tfscale.errors import RunError, UserError, first_line
from tfscale.estimate import plot, show
from tfscale.estimate.forecast import Forecast, Length
from tfscale.estimate.link import Link, parse_rate, parse_seconds
from tfscale.estimate.model import Costs
from tfscale.startup_noise import hidden_startup_noise
from tfscale.terminal import logger
from tfscale.world import from_environment

KEYS = ("link", "latency", "ranks", "price", "plot")
"""The command's own keys."""

YOURS = "your strategy"
"""Name of the strategy that the command line sets."""

NO_SUMS = "simulated peers have no sums of parts; the estimate is that of strategy.reduce=gather"

SUM_OF_PEERS = "combine"
"""The option that scales a sum over replicas. Simulated peers all send the same, whose mean alone keeps its size."""

ENDINGS = (".svg", ".png", ".pdf")
"""Endings of a plot's file."""

MOST_RANKS = 1 << 16
"""Largest number of replicas."""

MOST_NUMBERS = 20
"""Numbers of replicas in one table."""


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
    if any(each.strategy.get("group", 1) != 1 for each in configs.values()):
        raise UserError(
            "strategy.group must be 1 for an estimate, which trains one replica; a group is like one with the "
            "batches of all: leave it out and multiply train.batch"
        )
    _require_ranks(configs.values(), options.ranks)
    if max(options.ranks) >= SCATTER_FROM and any(each.strategy.get("reduce") == "auto" for each in configs.values()):
        logger.warning(f"warning: from {SCATTER_FROM} replicas on jobs send fewer bytes than is said here: {NO_SUMS}")
    if options.link is None:
        link.processes_of(next(iter(configs.values())))
    forecast, parameters = _measured(configs, options)
    if flags.json:
        print(json.dumps(show.document(forecast, parameters), indent=1))
    else:
        show.print_for_person(forecast, parameters)
    if options.plot is not None:
        _draw(forecast, options.plot)
    return 0


def _require_ranks(configs: Collection[Config], ranks: Sequence[int]) -> None:
    """Raises UserError if a strategy cannot have so many replicas."""
    for config in configs:
        settings = settings_of(config.strategy["_target_"])
        if settings is None:
            continue
        for replicas in ranks:
            strategy = {**config.strategy, "replicas": replicas}
            if problems := settings.problems_of(config.model_copy(update={"strategy": strategy})):
                raise UserError(*(f"with ranks={replicas}: {problem}" for problem in problems))


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
    if user_paths.is_dir(path):
        raise UserError(f"plot={text} is a folder; give the name of a file")
    if not user_paths.is_dir(path.parent):
        raise UserError(f"plot={text} lies in a folder that does not exist; make it first: mkdir {path.parent}")
    return path


def _configs(words: Sequence[Override], config_dir: str | None) -> dict[str, Config]:
    """Returns the configuration of each strategy, checked: the job's own and those that are compared.

    Raises:
        UserError: The job's settings are wrong.
    """
    job = prepare.config_of([str(each.input_line) for each in words], config_dir).config
    preflight.check_job(job, processes=2)
    shipped = {name: _strategy(strategy) for name, strategy in compared().items()}
    typed = {f"{YOURS} {name}": each for name, each in candidates_of(job).items()} or {YOURS: job.strategy}
    known = (_strategy([]), *shipped.values())
    own = {name: _checked(job.model_copy(update={"strategy": each})) for name, each in typed.items()}
    configs = {name: each for name, each in own.items() if typed[name] not in known}
    for name, strategy in shipped.items():
        try:
            configs[name] = _checked(job.model_copy(update={"strategy": strategy}))
        except UserError as error:
            logger.warning(f"warning: {name} is left out: {error.problems[0]}")
    return configs or own


def _strategy(words: Sequence[str]) -> Mapping[str, Any]:
    """Returns a shipped strategy's settings."""
    return preflight.preflight(words, config_dir=None).strategy


def _checked(job: Config) -> Config:
    """Returns a configuration that can be measured.

    Raises:
        UserError: It is wrong, or it cannot be measured.
    """
    config = preflight.check_job(job, processes=2)
    strategy = dict(config.strategy)
    if strategy.get("reproducible"):
        raise UserError(
            "estimate cannot simulate the peers of strategy.reproducible=true; set strategy.reproducible=false"
        )
    strategy, left_out = in_steady_state(strategy)  # simulated peers have no digests for dense steps
    if left_out:
        logger.warning(f"warning: the estimate leaves out what {', '.join(left_out)} adds")
    changed = {}
    if strategy.get("reduce") == "scatter":
        changed["reduce"] = "gather"
        logger.warning(f"warning: {NO_SUMS}")
    if SUM_OF_PEERS in strategy:
        changed[SUM_OF_PEERS] = "mean"
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
        try:
            costs[name] = _costs(name, lambda config=config: measurer.costs(config))
        except (UserError, RunError) as error:
            if name.startswith(YOURS):
                raise
            logger.warning(f"warning: {name} is left out: {first_line(error)}")
    if not costs:
        raise RunError("no strategy can be measured with these settings; train with them first: tfscale train")
    length = Length(
        steps=first.train.steps, epochs=first.train.epochs, examples=measurer.examples, batch=first.train.batch
    )
    forecast = Forecast(
        costs=costs, link=between, transport=transport, ranks=options.ranks, length=length, price=options.price
    )
    return forecast, measurer.parameters


def _costs(name: str, measure: Callable[[], Costs]) -> Costs:
    """Returns what was measured.

    Raises:
        UserError: The data or settings are wrong in a way that only training shows.
        RunError: The job fails.
    """
    try:
        return measure()
    except (UserError, RunError):
        raise
    except Exception as error:
        raise RunError(f"{name} cannot be measured: {first_line(error)}") from error


def _draw(forecast: Forecast, path: Path) -> None:
    try:
        plot.draw(forecast, path)
    except OSError as error:
        raise UserError(f"plot={path} cannot be written: {error.strerror}; give another file") from None
