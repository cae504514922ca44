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
from tfscale.job.build import Connection, build
from tfscale.job.build_data import BuiltData, build_data
from tfscale.job.timed_training import TimedTraining

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
                return Costs(rounds=single.seconds(), seconds_a_peer=0.0, traffic=single.traffic())
        with self._training(config, FEW) as few:
            rounds = few.seconds()
        with self._training(config, MANY) as many:
            a_peer = max(0.0, (statistics.median(many.seconds()) - statistics.median(rounds)) / (MANY - FEW))
            return Costs(rounds=[each - a_peer for each in rounds], seconds_a_peer=a_peer, traffic=many.traffic())

    @contextmanager
    def _training(self, config: Config, replicas: int) -> Iterator["_Rounds"]:
        """A job with so many replicas, after its first steps; one at a time, as each has a model in memory."""
        connection = Connection(devices=self._devices, threads=self._threads, collective=Simulated(replicas=replicas))
        job = build(config, connection, self._built)
        self.parameters = job.layout.size
        training = TimedTraining(job, shards=1, warm_up=WARM_UP)
        try:
            yield _Rounds(training)
        finally:
            training.close()


@final
class _Rounds:
    """Rounds of a job that trains, each measured.

    Raises:
        UserError: The loss is not finite, so that nothing is sent.
    """

    def __init__(self, training: TimedTraining) -> None:
        self._training = training
        self._traffic = [training.traffic()]
        self._check()

    def traffic(self) -> Sequence[Traffic]:
        """Returns that of a replica, the mean over the rounds that were measured, or of the last one before them."""
        rounds = self._traffic[1:] or self._traffic
        return [
            replace(each, words=statistics.fmean(one[number].words for one in rounds))
            for number, each in enumerate(rounds[0])
        ]

    def seconds(self) -> list[float]:
        """Trains on; returns the mean time of a step in each round."""
        rounds, began = list[float](), time.perf_counter()
        while True:
            rounds.append(self._training.train(self._training.every))
            self._traffic.append(self._training.traffic())
            self._check()
            passed = time.perf_counter() - began
            if (len(rounds) >= ROUNDS and passed >= SECONDS) or (len(rounds) >= FEWEST_ROUNDS and passed >= LONGEST):
                return rounds

    def _check(self) -> None:
        if not math.isfinite(self._training.loss):
            raise UserError(
                f"the loss must be finite to measure messages, got {self._training.loss}; lower the learning rate"
            )
