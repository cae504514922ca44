"""Jobs that are built and trained in the test's own process, with the variants of every strategy."""

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from tfscale.config import preflight
from tfscale.config.schemas.config import Config
from tfscale.job import build as building
from tfscale.job.build import Job
from tfscale.training.loop import StepInfo, training_steps
from tfscale.world import World

IN_PROCESS = "strategy/collective=in_process"


SHARING = ("strategy=sharing", IN_PROCESS)


STRATEGIES = {
    "horovod": ("strategy=horovod", IN_PROCESS),
    "horovod_averaging": ("strategy=horovod_averaging", IN_PROCESS, "strategy.every=2"),
    "local": ("strategy=local", "strategy.every=3"),
    "sharing": SHARING,
}


VARIANTS = {
    **STRATEGIES,
    "horovod, reproducible": ("strategy=horovod", IN_PROCESS, "strategy.reproducible=true"),
    "local, reproducible": ("strategy=local", "strategy.every=3", "strategy.reproducible=true"),
    "local, slots apart": ("strategy=local", "strategy.every=3", "strategy.average_optimizer=false"),
    "local, outer optimizer": (
        *("strategy=local", "strategy.every=3", "strategy/outer=nesterov"),
        *("strategy.outer.learning_rate=0.9", "strategy.outer.momentum=0.3"),
    ),
    "local, int8": ("strategy=local", "strategy.every=3", "strategy.payload=int8"),
    "local, float16": ("strategy=local", "strategy.every=3", "strategy.payload=float16"),
    "sharing updates": (*SHARING, "strategy.shares=updates"),
    "sharing in rounds": (*SHARING, "strategy.every=4", "strategy.threshold.density=0.02"),
    "sharing in rounds, outer optimizer": (
        *(*SHARING, "strategy.every=3", "strategy.threshold.density=0.02", "strategy.levels=3"),
        *("strategy/outer=sgd", "strategy.outer.momentum=0.3", "strategy.residual_decay=0.95", "strategy.delay=1"),
    ),
    "sharing in groups": (*SHARING, "strategy.replicas=6", "strategy.group=2"),
    "sharing in groups, in rounds": (
        *(*SHARING, "strategy.replicas=6", "strategy.group=2", "strategy.every=4", "strategy.threshold.density=0.02"),
    ),
    "sharing sum": (*SHARING, "strategy.combine=sum", "optimizer.learning_rate=0.02"),
    "sharing clipped": (*SHARING, "strategy.clip_norm=1.0"),
    "sharing adaptive": (*SHARING, "strategy/threshold=adaptive"),
    "sharing fixed": (
        *SHARING,
        "strategy/threshold=fixed",
        "strategy.threshold.initial=0.1",
    ),
    "sharing bitmap": (*SHARING, "strategy/codec=bitmap"),
    "sharing, reference": (*SHARING, "strategy.kernel=reference"),
    "sharing a step later": (*SHARING, "strategy.delay=1"),
    "sharing, divided": (*SHARING, "strategy.reduce=scatter", "strategy.min_size=17", "strategy.delay=1"),
    "sharing per tensor": (*SHARING, "strategy.per_tensor=true", "strategy.min_size=17"),
    "sharing after a warm-up": (*SHARING, "strategy.warmup=5", "strategy.flush_every=20"),
}


DATA = ("data=synthetic", "data.shape=[6]", "data.examples=203", "data.test_examples=50", "model.hidden=[16]")
SMALL = (*DATA, "optimizer.learning_rate=0.05")


@cache
def composed(*words: str, config_dir: str | None = None) -> Config:
    """The configuration under some overrides; many tests build several jobs of the same one."""
    return preflight.preflight(words, config_dir=config_dir)


def with_optimizer(folder: Path, target: str, *words: str) -> Job:
    """Builds a job with an optimizer that has no options file, as a user does: in a configuration folder of their own.

    Needs the fixture `build_job`, which provides the devices.
    """
    own = folder / "conf" / "optimizer"
    own.mkdir(parents=True, exist_ok=True)
    (own / "own.yaml").write_text(f"_target_: {target}\n_partial_: true\nlearning_rate: 0.05\n")
    config = composed(*words, "optimizer=own", config_dir=str(own.parent))
    checked = preflight.check_job(config, processes=1)
    return building.build(checked, building.connect(checked, World()))


def stepping(job: Job) -> Iterator[StepInfo]:
    """The training loop of a job; it is traced once, at its first step."""
    return training_steps(
        job.state, job.data, shards=job.collective.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=2
    )


def run(job: Job, steps: int) -> Job:
    """Trains some steps."""
    for _ in itertools.islice(stepping(job), steps):
        pass
    return job


def parameters(job: Job) -> list[np.ndarray]:
    return [replica.parameters().numpy() for replica in job.state.replicas]


def of_replica(job: Job, index: int) -> dict[str, np.ndarray]:
    """Copies of all arrays of a replica, by name."""
    return dict(job.state.replica_arrays(index))
