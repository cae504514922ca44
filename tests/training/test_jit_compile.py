"""Gradients that XLA compiles: the same step, and a phase of its own for the compiler."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.in_place import SMALL, VARIANTS, parameters, run
from tests.support.marks import quick
from tfscale.job.build import Job
from tfscale.supervision.phase import Phase
from tfscale.training.loop import training_steps


@pytest.mark.parametrize("name", quick(["sharing", "horovod", "local", "sharing updates"], only=["sharing"]))
def test_compiled_gradients_give_the_step_of_others(build_job: Callable[..., Job], name: str) -> None:
    """Over more than an epoch, so that the ragged last batch (203 = 6 * 32 + 11) is in it."""
    words = (*SMALL, "train.batch=16", "strategy.replicas=2", *VARIANTS[name])
    plain, compiled = run(build_job(*words), 8), run(build_job(*words, "train.jit_compile=true"), 8)
    for one, other in zip(parameters(plain), parameters(compiled), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_each_size_of_a_batch_is_compiled_once_in_a_phase_that_has_minutes(build_job: Callable[..., Job]) -> None:
    """The compiler took 4 s for the last batch of an epoch once, and the watchdog ended the job."""
    job = build_job(*SMALL, "train.batch=16", "strategy.replicas=1", "train.jit_compile=true")
    phases: list[Phase] = []
    steps = training_steps(
        job.state,
        job.data,
        shards=1,
        batch=16,
        seed=1,
        prefetch=1,
        heartbeat=lambda phase, step: phases.append(phase),
    )
    epoch = 13  # 203 examples: 12 batches of 16, one of 11
    for _ in itertools.islice(steps, 2 * epoch):
        pass
    phases = [phase for phase in phases if phase is not Phase.DATA]
    compiling = [index for index, phase in enumerate(phases, start=1) if phase is Phase.COMPILING]
    assert compiling == [1, epoch]
    assert phases.count(Phase.STEP) == 2 * epoch - 2
