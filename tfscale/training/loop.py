"""The one training loop, for every strategy.

One tf.function a step holds the computation of all R replicas of this process and the exchange, so TensorFlow runs
replicas in parallel on their devices and Python runs once a step. It is a generator: the caller decides when to stop,
log, evaluate and save.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import tensorflow as tf

from tfscale.data.base import Batch, Data, Shard
from tfscale.strategies.base import SKIPPED_STEPS, Strategy
from tfscale.supervision.phase import Phase
from tfscale.training.observer import Observer
from tfscale.training.replica import Replica
from tfscale.training.state import RunState


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """One completed step.

    Attributes:
        step: Optimizer steps completed, this one included.
        losses: [R] float32, training losses of this process's replicas, before the step was applied.
        averaged_losses: [R] float32, losses on the same batches after the parameters were replaced; None if they were
            not, or if the strategy does not report them.
        measurements: [F] float64, the strategy's measurements, in the order of their names.
        remark: Description of a setting that the strategy has changed; None if it has not.
        seconds: Wall time of the step in seconds, waiting for data included.
        data_seconds: The part of it that this process waited for batches.
    """

    step: int
    losses: tf.Tensor
    averaged_losses: tf.Tensor | None
    measurements: tf.Tensor
    remark: str | None
    seconds: float
    data_seconds: float


def training_steps(
    state: RunState,
    data: Data,
    *,
    shards: int,
    batch: int,
    seed: int,
    prefetch: int,
    heartbeat: Callable[[Phase, int], None] = lambda phase, step: None,
    observer: Observer | None = None,
) -> Iterator[StepInfo]:
    """Trains without end, from `state.step` on; `state` is up to date at every yield.

    Args:
        state: What is trained.
        data: Source of batches.
        shards: W.
        batch: B.
        seed: Of the order of examples.
        prefetch: Batches prepared ahead, for each replica.
        heartbeat: Called with each phase that begins, and the steps completed.
        observer: Looks at the parameters before and after each step; None in a run that does not ask.
    """
    feeds = [
        data.train(Shard(replica.rank, shards), batch=batch, seed=seed, start=state.step, prefetch=prefetch)
        for replica in state.replicas
    ]
    train: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None
    synchronize = _synchronize_function(state.replicas, state.strategy)
    average = _average_function(state.replicas)
    compiling = _Compiling(state.replicas)
    score = _score_function(state.replicas)
    feed = zip(*feeds, strict=True)
    while True:
        if observer is not None:
            observer.before(state.step + 1)
        began = time.perf_counter()
        heartbeat(Phase.DATA, state.step)
        batches = next(feed)
        waited = time.perf_counter() - began
        heartbeat(compiling.next(batches), state.step)
        train = train or _step_function(state, batches)
        losses, measurements = train(batches, tf.constant(state.step, tf.int64))
        averaged = None
        if state.strategy.parameters_due(state.step + 1):
            heartbeat(Phase.AVERAGING, state.step)
            measurements = synchronize(tf.constant(state.step + 1, tf.int64))
            if state.strategy.reports_after_averaging:
                averaged = score(batches)
        state.step += 1
        if average is not None:
            average(tf.constant(state.step, tf.int64))
        seconds = time.perf_counter() - began
        if observer is not None:
            observer.after()
        yield StepInfo(
            step=state.step,
            losses=losses,
            averaged_losses=averaged,
            measurements=measurements,
            remark=state.strategy.autotune(state.step),
            seconds=seconds,
            data_seconds=waited,
        )


@final
class _Compiling:
    """Tells a step that compiles from others: XLA compiles the gradients again for each size of a batch."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._compiles, self._sizes = any(replica.compiles_each_size for replica in replicas), set[tuple[int, ...]]()

    def next(self, batches: Sequence[Batch]) -> Phase:
        """Returns the phase of the step of these batches."""
        if not self._compiles:
            return Phase.STEP
        sizes = tuple(len(weight) for _, _, weight in batches)
        is_new = sizes not in self._sizes
        self._sizes.add(sizes)
        return Phase.COMPILING if is_new else Phase.STEP


def _specs(batches: Sequence[Batch]) -> Sequence[Batch]:
    """Specs of batches of any size: the smaller last batch of an epoch must not trace the step again."""
    return tf.nest.map_structure(lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), tuple(batches))


def _step_function(state: RunState, batches: Sequence[Batch]) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Compiles (R batches, step [] int64) -> (losses [R], measurements [F]): gradients, exchange, optimizers."""
    replicas, strategy, scale = state.replicas, state.strategy, state.loss_scale

    def step(batches: Sequence[Batch], number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses, gradients = [], []
        for replica, batch in zip(replicas, batches, strict=True):
            with tf.device(replica.device):
                loss, each = replica.gradients(batch, None if scale is None else scale.value.read_value())
                losses.append(loss)
                gradients.append(each)
        reduced = strategy.reduce_gradients(gradients, [replica.trainable_tensors() for replica in replicas], number)
        for replica, each in zip(replicas, reduced, strict=True):
            with tf.device(replica.device):
                replica.apply(each)
        if scale is not None:
            scale.update(tf.cast(strategy.measurements()[SKIPPED_STEPS], tf.int64))
        return tf.stack(losses), _measured(strategy)

    function = tf.function(step, autograph=False, jit_compile=False)
    return function.get_concrete_function(_specs(batches), tf.TensorSpec([], tf.int64))


def _measured(strategy: Strategy) -> tf.Tensor:
    return tf.stack([tf.cast(value, tf.float64) for value in strategy.measurements().values()])


def _synchronize_function(replicas: Sequence[Replica], strategy: Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compiles (step [] int64) -> measurements [F]: all replicas take the reduced parameters."""

    @tf.function(autograph=False, jit_compile=False)
    def synchronize(number: tf.Tensor) -> tf.Tensor:
        reduced = strategy.reduce_parameters([replica.parameters() for replica in replicas], number)
        for replica in replicas:
            replica.assign(reduced)
        return _measured(strategy)

    return synchronize


def _average_function(replicas: Sequence[Replica]) -> Callable[[tf.Tensor], None] | None:
    """Compiles (step [] int64) -> None: averages of weights take the step; None if there are no averages.

    It comes after the strategy has replaced parameters, so replicas with equal weights have equal averages.
    """
    averages = [(replica.device, replica.average) for replica in replicas if replica.average is not None]
    if not averages:
        return None

    @tf.function(autograph=False, jit_compile=False)
    def update(step: tf.Tensor) -> None:
        for device, average in averages:
            with tf.device(device):
                average.update(step)

    return update


def _score_function(replicas: Sequence[Replica]) -> Callable[[Sequence[Batch]], tf.Tensor]:
    """Compiles (R batches) -> losses [R] of the present parameters."""

    @tf.function(autograph=False, jit_compile=False, reduce_retracing=True)
    def score(batches: Sequence[Batch]) -> tf.Tensor:
        losses = []
        for replica, batch in zip(replicas, batches, strict=True):
            with tf.device(replica.device):
                losses.append(replica.loss(batch, training=False))
        return tf.stack(losses)

    return score
