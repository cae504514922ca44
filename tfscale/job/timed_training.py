"""A job that trains for its speed alone: some steps by the loop of training, with a clock around them."""

import time
from collections.abc import Callable, Sequence
from typing import final

from tfscale.collectives.traffic import Traffic
from tfscale.job.build import Job
from tfscale.training.loop import training_steps


@final
class TimedTraining:
    """A job whose first steps are behind it.

    Args:
        job: At step 0.
        shards: Parts of the training data, one a replica.
        warm_up: Steps before the first measurement, at least a round: the first ones compile.
        heartbeat: Called before each step.

    Attributes:
        every: Steps in a round, at whose end an exchange takes place.
        loss: Of the last step.
    """

    def __init__(self, job: Job, *, shards: int, warm_up: int, heartbeat: Callable[[], None] = lambda: None) -> None:
        self._heartbeat = heartbeat
        self._strategy, plan = job.state.strategy, job.plan
        self._steps = training_steps(
            job.state,
            job.data,
            shards=shards,
            batch=plan.batch,
            seed=plan.seed,
            prefetch=plan.prefetch,
        )
        self.loss = 0.0
        self.train(1)
        self.every = max((each.every for each in self.traffic()), default=1)
        self.train(max(1, -(-warm_up // self.every)) * self.every - 1)

    def train(self, count: int) -> float:
        """Trains so many steps; returns the mean seconds of one."""
        began = time.perf_counter()
        for _ in range(count):
            self._heartbeat()
            self.loss = float(next(self._steps).losses[0])  # a device may still compute what Python has started
        return (time.perf_counter() - began) / max(1, count)

    def traffic(self) -> Sequence[Traffic]:
        """Returns that of the last step."""
        return self._strategy.traffic()

    def close(self) -> None:
        """Ends the job."""
        self._steps.close()
