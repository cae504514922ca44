"""Builds the replicas of this process: equal in all processes but for their random streams."""

from collections.abc import Sequence

import keras

from tfscale.collectives.checksummed import require_equal
from tfscale.config.instantiate import instantiate
from tfscale.config.schemas.common import transfer_of
from tfscale.config.schemas.config import Config
from tfscale.data.base import Data
from tfscale.job.build_model import build_model
from tfscale.job.initial_weights import InitialWeights
from tfscale.strategies.base import Strategy
from tfscale.tasks.base import Task
from tfscale.training.computation import Computation
from tfscale.training.replica import Replica
from tfscale.training.schedules import Rate
from tfscale.training.state import digest


def build_replicas(
    config: Config,
    data: Data,
    task: Task,
    *,
    strategy: Strategy,
    rate: Rate,
    initial: InitialWeights | None,
    devices: Sequence[str],
) -> list[Replica]:
    """Returns a replica for each device, with the parameters of rank 0. All processes must call it.

    Args:
        config: Checked by preflight.
        data: Gives the shapes that the configuration leaves to it.
        task: Gives the output, targets and losses.
        strategy: Its collective counts the replicas.
        rate: The learning rate of all optimizers.
        initial: First weights; None for the model's own.
        devices: Of this process.

    Raises:
        UserError: The model or the optimizer does not fit.
    """
    collective = strategy.collective

    def model() -> keras.Model:
        keras.utils.set_random_seed(config.seed)  # gives every replica the same weights
        return build_model(config, data.spec, task, initial)

    replicas = [
        Replica(
            rank=rank,
            device=device,
            model=model,
            optimizer=lambda: instantiate("optimizer", {**config.optimizer, "_partial_": False}, learning_rate=rate),
            task=task,
            batch=config.train.batch,
            with_slots=strategy.averages_optimizer,
            frozen=transfer_of(config.model).freeze,
            computation=Computation(
                precision=config.train.precision,
                accumulate=config.train.accumulate,
                jit_compile=config.train.jit_compile,
                ema=config.train.ema,
            ),
        )
        for rank, device in zip(collective.ranks, devices, strict=True)
    ]
    start = collective.broadcast([replica.parameters() for replica in replicas])
    for replica in replicas:
        replica.assign(start)
    require_equal(collective, [digest(replica) for replica in replicas], "the parameters that replicas start with")
    return replicas
