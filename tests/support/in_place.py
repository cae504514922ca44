"""Jobs that are built and trained in the test's own process, and the variants of every strategy."""

import itertools

import numpy as np

from tfscale.job.build import Job
from tfscale.training.loop import training_steps

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
    "sharing updates": (*SHARING, "strategy.shares=updates"),
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
    "sharing per tensor": (*SHARING, "strategy.per_tensor=true", "strategy.min_size=17"),
    "sharing after a warm-up": (*SHARING, "strategy.warmup=5", "strategy.flush_every=20"),
}


SMALL = (
    *("data=synthetic", "data.shape=[6]", "data.examples=203", "data.test_examples=50"),
    *("model.hidden=[16]", "optimizer.learning_rate=0.05"),
)


def run(job: Job, steps: int) -> Job:
    feed = training_steps(
        job.state, job.data, shards=job.collective.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=2
    )
    for _ in itertools.islice(feed, steps):
        pass
    return job


def parameters(job: Job) -> list[np.ndarray]:
    return [replica.parameters().numpy() for replica in job.state.replicas]


def of_replica(job: Job, index: int) -> dict[str, np.ndarray]:
    """A copy of all that a replica holds, by name."""
    return dict(job.state.replica_arrays(index))
