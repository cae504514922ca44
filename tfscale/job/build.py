"""Builds a job from a checked configuration: the only place where classes are chosen.

TensorFlow forces the order: devices, data, replicas (one a device, with the same seed, then with the parameters of
rank 0), the variables of the strategy, and last what a checkpoint restores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tfscale import cores, devices
from tfscale.collectives.base import Collective, ranks_of
from tfscale.collectives.checksummed import require_equal
from tfscale.collectives.horovod import Horovod
from tfscale.collectives.in_process import InProcess
from tfscale.config.evaluation import AVERAGING, CONSTANT, NEVER_STOPS
from tfscale.config.instantiate import instantiate
from tfscale.config.schemas.config import Config
from tfscale.config.targets import trust
from tfscale.config.transfer import origin_of
from tfscale.data.base import Data, Split
from tfscale.data.preprocessing import Preprocessing
from tfscale.errors import UserError
from tfscale.job.build_data import BuiltData, build_data, build_task
from tfscale.job.build_model import zeros
from tfscale.job.build_replicas import build_replicas
from tfscale.job.initial_weights import InitialWeights
from tfscale.strategies.base import SKIPPED_STEPS, Strategy
from tfscale.tasks.base import Task
from tfscale.training.evaluator import Evaluator
from tfscale.training.plateau import Plateau
from tfscale.training.precision import LossScale
from tfscale.training.state import RunState
from tfscale.training.trainer import Plan, automatic_interval
from tfscale.vectors import Layout
from tfscale.world import World


@dataclass(frozen=True, kw_only=True)
class Job:
    """The objects of a run.

    Attributes:
        data: Examples of all splits.
        preprocessing: Of the data.
        task: What is predicted.
        state: Replicas and strategy at step 0.
        plan: When to log, evaluate, save and end.
        evaluator: Evaluates the consensus of the replicas.
        skipped_examples: Number of examples left out because they cannot be read.
        warnings: Sentences about data and model for the user.
        notes: Sentences about where the model's weights are from.
    """

    data: Data
    preprocessing: Preprocessing
    task: Task
    state: RunState
    plan: Plan
    evaluator: Evaluator
    skipped_examples: int
    warnings: Sequence[str]
    notes: Sequence[str]

    @property
    def collective(self) -> Collective:
        """The collective of the replicas."""
        return self.state.strategy.collective

    @property
    def layout(self) -> Layout:
        """The layout of the trainable tensors in the vector [D]."""
        return self.state.replicas[0].layout


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The devices of this process and its connection to the others.

    Attributes:
        devices: A device name for each replica of this process.
        threads: Threads of one operation on a CPU; 0 for one a core.
        collective: Exchanges tensors between all replicas.
    """

    devices: tuple[str, ...]
    threads: int
    collective: Collective


def connect(config: Config, world: World) -> Connection:
    """Claims the devices of this process and connects it to the others.

    Args:
        config: Checked by preflight.
        world: This process among those of the job.

    Raises:
        UserError: The launcher and Horovod count different numbers of processes.
    """
    trust(config.trust)
    replicas = _replicas(config, world)
    threads = _threads(config, world, replicas)
    places = devices.claim(
        len(ranks_of(world.rank, world.size, replicas)),
        local_rank=world.local_rank,
        local_size=world.local_size,
        threads=threads,
    )
    return Connection(devices=places, threads=threads, collective=_collective(config, world, replicas))


def build(config: Config, connection: Connection, built: BuiltData | None = None, *, restored: bool = False) -> Job:
    """Builds the job of a configuration.

    Args:
        config: Checked by preflight.
        connection: Of this process.
        built: The data; None for those of the configuration, for a new run.
        restored: Whether a checkpoint will replace the state, so that `model.init_from` is not read.

    Raises:
        UserError: A value is wrong in a way that only building shows: a damaged file, a model that does not fit the
            data.
    """
    collective, replicas = connection.collective, connection.collective.size
    built = built or build_data(config)
    data = built.data
    require_equal(
        collective,
        [data.digest] * len(collective.ranks),
        "the examples that replicas read must be the same on all hosts, but they",
        UserError,
    )
    task = build_task(config, data.spec)
    strategy = _strategy(config, collective)
    plan = _plan(config, data, replicas)
    rate = instantiate(
        "schedule",
        config.schedule,
        learning_rate=config.optimizer.get("learning_rate"),
        total_steps=plan.steps,
    )
    origin = None if restored else origin_of(config)
    initial = None if origin is None else InitialWeights(origin)
    own = build_replicas(config, data, task, strategy=strategy, rate=rate, initial=initial, devices=connection.devices)
    strategy.build([replica.parameters() for replica in own], own[0].layout, own[0].learning_rate)
    evaluator = Evaluator(own, data=data, collective=collective, task=task)
    evaluator.check(*zeros(data.spec))
    stopping = instantiate(
        "early_stopping",
        config.early_stopping,
        directions=evaluator.directions,
        has_validation=Split.VALIDATION in data.sizes,
    )
    plateau = rate if isinstance(rate, Plateau) else None
    if plateau is not None:
        plateau.watch(evaluator.directions, has_validation=Split.VALIDATION in data.sizes)
    return Job(
        data=data,
        preprocessing=built.preprocessing,
        task=task,
        state=RunState(
            step=0,
            replicas=own,
            strategy=strategy,
            early_stopping=stopping,
            loss_scale=_loss_scale(config, strategy),
            plateau=plateau,
        ),
        plan=plan,
        evaluator=evaluator,
        skipped_examples=built.skipped,
        warnings=[*built.warnings, *own[0].warnings],
        notes=[] if initial is None else [initial.note],
    )


def for_evaluation(config: Config) -> Config:
    """Returns the configuration with one replica a process and plain averaging, to evaluate a saved model.

    A checkpoint's model has averaged weights in their place already, so there is no average to make.
    """
    changes = {
        "strategy": dict(AVERAGING),
        "train": config.train.model_copy(update={"ema": None}),
        "schedule": dict(CONSTANT),
        "early_stopping": {**config.early_stopping, **NEVER_STOPS},
    }
    return config.model_copy(update=changes)


def _replicas(config: Config, world: World) -> int:
    """Returns W; auto is one a process, or one a device where one process holds all replicas."""
    wanted = config.strategy.get("replicas", world.size)
    if wanted != "auto":
        return int(wanted)
    between_processes = _collective_target(config, world) is Horovod
    return world.size if between_processes else devices.visible_gpus() or 2


def _threads(config: Config, world: World, replicas: int) -> int:
    """Returns the threads of an operation; auto depends on the replicas of this host, not on its processes.

    Replicas of one process run concurrently, too: two of LeNet are a tenth faster with one core each.
    """
    if config.launch.threads != "auto":
        return config.launch.threads
    return max(1, cores.count() * world.size // (replicas * world.local_size))


def _collective_target(config: Config, world: World) -> object:
    target = config.strategy.get("collective", {}).get("_target_", "auto")
    if target == "auto":
        return Horovod if world.size > 1 else InProcess
    known = {
        "tfscale.collectives.horovod.Horovod": Horovod,
        "tfscale.collectives.in_process.InProcess": InProcess,
    }
    return known.get(target, target)


def _collective(config: Config, world: World, replicas: int) -> Collective:
    target = _collective_target(config, world)
    if target is Horovod:
        node = config.strategy.get("collective", {})
        return Horovod(replicas=replicas, processes=world.size, shared_memory=node.get("shared_memory", "auto"))
    if target is InProcess:
        return InProcess(replicas=replicas)
    return instantiate("strategy.collective", config.strategy["collective"], replicas=replicas)


def _strategy(config: Config, collective: Collective) -> Strategy:
    node = {key: value for key, value in config.strategy.items() if key not in ("collective", "replicas")}
    return instantiate("strategy", node, collective=collective)


def _plan(config: Config, data: Data, replicas: int) -> Plan:
    train = config.train
    epoch = -(-data.sizes[Split.TRAIN] // (train.batch * replicas))
    steps = train.steps if train.steps is not None else max(1, round((train.epochs or 1) * epoch))
    return Plan(
        steps=steps,
        epoch=epoch,
        batch=train.batch,
        seed=config.seed,
        prefetch=train.prefetch,
        nonfinite=train.nonfinite,
        log_every=train.log_every,
        evaluate_every=train.evaluate_every or automatic_interval(epoch),
        checkpoint_every=train.checkpoint_every or automatic_interval(epoch),
    )


def _loss_scale(config: Config, strategy: Strategy) -> LossScale | None:
    if config.train.precision != "float16":
        return None
    if SKIPPED_STEPS not in strategy.measurements():
        raise UserError(
            f"train.precision=float16 needs a strategy that measures {SKIPPED_STEPS}, as {type(strategy).__name__} "
            "does not; set train.precision=bfloat16"
        )
    return LossScale()
