"""Chooses the strategy of a job at its start: each candidate trains for some seconds over the link of the job."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tfscale.config.instantiate import instantiate
from tfscale.config.preflight import check_job
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import candidates_of, in_steady_state, with_strategy
from tfscale.job.build import Connection, build
from tfscale.job.build_data import BuiltData
from tfscale.job.timed_training import TimedTraining
from tfscale.job.trained import as_in_a_new_process
from tfscale.strategies.base import Chooser
from tfscale.supervision.phase import Phase
from tfscale.world import World


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A job's configuration with its strategy.

    Attributes:
        config: Checked, its automatic values resolved.
        seconds: Candidate -> mean seconds of a step; empty where there was no choice.
    """

    config: Config
    seconds: Mapping[str, float]

    @property
    def notes(self) -> Sequence[str]:
        """The figures as a line; none where there was no choice."""
        figures = [f"{name} {1e3 * seconds:.2f} ms" for name, seconds in self.seconds.items()]
        return [f"time of a step: {', '.join(figures)}; the fastest strategy is chosen"] if figures else []


def choose(
    config: Config,
    connection: Connection,
    built: BuiltData,
    world: World,
    heartbeat: Callable[[Phase, int], None],
) -> Chosen:
    """Returns the configuration with the fastest of its candidates. All processes must call it.

    Args:
        config: Checked.
        connection: Of this process.
        built: The data.
        world: This process among those of the job.
        heartbeat: Called before each step.

    Raises:
        UserError: A candidate cannot be built.
    """
    candidates = candidates_of(config)
    if not candidates:
        return Chosen(config=config, seconds={})
    chooser: Chooser = instantiate(
        "strategy",
        {"_target_": config.strategy["_target_"]},
        candidates=candidates,
        collective=connection.collective,
    )
    configs = {
        name: check_job(with_strategy(config, candidate), processes=world.size)
        for name, candidate in candidates.items()
    }
    trials = {
        name: each.model_copy(update={"strategy": in_steady_state(each.strategy)[0]}) for name, each in configs.items()
    }
    seconds = {
        name: _seconds(chooser, each, connection, built, lambda: heartbeat(Phase.STARTING, 0))
        for name, each in trials.items()
    }
    return Chosen(config=configs[chooser.choice(seconds)], seconds=seconds)


def _seconds(
    chooser: Chooser, config: Config, connection: Connection, built: BuiltData, heartbeat: Callable[[], None]
) -> float:
    heartbeat()
    with as_in_a_new_process():
        job = build(config, connection, built)
        training = TimedTraining(job, shards=job.collective.size, warm_up=1, heartbeat=heartbeat)
        try:
            return chooser.seconds(training.train, every=training.every)
        finally:
            training.close()
            del job, training
            gc.collect()  # a model's memory is wanted for the next one
