"""Measures what one replica of a job computes in a step on this machine, its peers' messages included.

A job is built as for training, but with a collective whose other replicas are simulated, so it trains by its real loop
on its real data, and nothing is sent. What a further replica adds is the difference of two such measurements.
"""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import final

from tfscale import devices
from tfscale.collectives.simulated import Simulated
from tfscale.collectives.traffic import Traffic
from tfscale.config.schemas.config import Config
from tfscale.config.targets import trust
from tfscale.data.base import Split
from tfscale.errors import UserError
from tfscale.estimate.model import Costs
from tfscale.job.build import Connection, Job, build
from tfscale.job.build_data import BuiltData, build_data
from tfscale.training.loop import training_steps

FEW, MANY = 2, 18
"""Numbers of replicas, of which the difference gives the cost of one more."""

WARM_UP = 16
"""Steps that are not measured: the first ones compile, and thresholds are agreed."""

SECONDS = 3.0
"""Shortest duration of a measurement."""

LONGEST = 30.0
"""Duration after which FEWEST_ROUNDS are enough."""

ROUNDS, FEWEST_ROUNDS = 5, 2
"""Fewest rounds of a measurement, and of one that takes long."""


@final
class Measurer:
    """Measures one strategy after another, with the same data, model and devices.

    Args:
        config: Of the job, checked; all configurations to measure differ from it in the strategy alone.

    Attributes:
        examples: Number of training examples.
        parameters: D, of the last measurement.
    """

    def __init__(self, config: Config) -> None:
        trust(config.trust)
        self._threads = 0 if config.launch.threads == "auto" else config.launch.threads
        self._devices = devices.claim(1, threads=self._threads)
        self._built: BuiltData = build_data(config)
        self.examples = self._built.data.sizes[Split.TRAIN]
        self.parameters = 0

    def costs(self, config: Config) -> Costs:
        """Returns the costs of the configuration's strategy.

        Raises:
            UserError: The loss is not finite.
        """
        with self._training(config, 1) as single:
            if all(each.kind == "mean" for each in single.traffic()):
                return Costs(rounds=single.rounds(), seconds_a_peer=0.0, traffic=single.traffic())
        with self._training(config, FEW) as few:
            rounds = few.rounds()
        with self._training(config, MANY) as many:
            a_peer = max(0.0, (statistics.median(many.rounds()) - statistics.median(rounds)) / (MANY - FEW))
            return Costs(rounds=[each - a_peer for each in rounds], seconds_a_peer=a_peer, traffic=many.traffic())

    @contextmanager
    def _training(self, config: Config, replicas: int) -> Iterator["_Training"]:
        """A job with so many replicas, after its first steps; one at a time, as each has a model in memory."""
        connection = Connection(devices=self._devices, threads=self._threads, collective=Simulated(replicas=replicas))
        job = build(config, connection, self._built)
        self.parameters = job.layout.size
        training = _Training(job)
        try:
            yield training
        finally:
            training.close()


@final
class _Training:
    """A job that trains, its first steps behind it."""

    def __init__(self, job: Job) -> None:
        self._strategy, plan = job.state.strategy, job.plan
        self._steps = training_steps(
            job.state, job.data, shards=1, batch=plan.batch, seed=plan.seed, prefetch=plan.prefetch
        )
        self._train(1)
        self._traffic = [self._strategy.traffic()]
        self._round = max((each.every for each in self._traffic[0]), default=1)
        self._train(-(-WARM_UP // self._round) * self._round - 1)

    def traffic(self) -> Sequence[Traffic]:
        """Returns that of a replica, the mean over the rounds that were measured, or of the last one before them."""
        rounds = self._traffic[1:] or self._traffic
        return [
            replace(each, words=statistics.fmean(one[number].words for one in rounds))
            for number, each in enumerate(rounds[0])
        ]

    def close(self) -> None:
        """Ends the job."""
        self._steps.close()

    def rounds(self) -> list[float]:
        """Trains on; returns the mean time of a step in each round."""
        rounds, began = list[float](), time.perf_counter()
        while True:
            rounds.append(self._train(self._round))
            self._traffic.append(self._strategy.traffic())
            passed = time.perf_counter() - began
            if (len(rounds) >= ROUNDS and passed >= SECONDS) or (len(rounds) >= FEWEST_ROUNDS and passed >= LONGEST):
                return rounds

    def _train(self, count: int) -> float:
        """Trains so many steps; returns the mean time of one.

        Raises:
            UserError: The loss is not finite, so that nothing is sent.
        """
        began = time.perf_counter()
        for _ in range(count):
            loss = float(next(self._steps).losses[0])  # a device may still be computing what Python has started
            if not math.isfinite(loss):
                raise UserError(f"the loss must be finite to measure messages, got {loss}; lower the learning rate")
        return (time.perf_counter() - began) / count
