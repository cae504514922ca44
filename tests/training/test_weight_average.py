"""The average of weights: what it is, and that it is what is evaluated, saved and returned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.checkpoints import alone, everything, saved
from tests.support.in_place import SMALL, VARIANTS, composed, parameters, run
from tests.support.marks import quick
from tfscale.config.preflight import check_job
from tfscale.data.base import Split
from tfscale.errors import UserError
from tfscale.job.build import Job, build, connect, for_evaluation
from tfscale.training.checkpoints import restore_model
from tfscale.world import World

NAMES = quick(["horovod", "local", "sharing", "sharing updates"], only=["local", "sharing updates"])
AVERAGED = (*SMALL, "train.batch=16", "train.ema=0.75")


@pytest.mark.parametrize("name", NAMES)
def test_the_consensus_is_the_average_of_all_steps(build_job: Callable[..., Job], name: str) -> None:
    job, wanted = build_job(*AVERAGED, *VARIANTS[name]), None
    size = job.layout.size
    for _ in range(5):
        run(job, 1)
        mean = np.mean([each[:size] for each in parameters(job)], axis=0)
        wanted = mean if wanted is None else 0.75 * wanted + 0.25 * mean
    np.testing.assert_allclose(job.state.consensus()[:size], wanted, atol=1e-6)
    assert not np.allclose(mean, wanted, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on_with_the_weights_themselves(build_job: Callable[..., Job], name: str) -> None:
    averaged, plain = build_job(*AVERAGED, *VARIANTS[name]), build_job(*AVERAGED, "train.ema=null", *VARIANTS[name])
    for _ in range(2):
        for one, other in zip(parameters(run(averaged, 2)), parameters(run(plain, 2)), strict=True):
            np.testing.assert_array_equal(one, other)
        averaged.evaluator(averaged.state.consensus(), Split.TEST)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_goes_on_with_its_average(build_job: Callable[..., Job], tmp_path: Path, name: str) -> None:
    straight = run(build_job(*AVERAGED, *VARIANTS[name]), 6)
    saved(run(build_job(*AVERAGED, *VARIANTS[name]), 3), tmp_path)
    resumed = build_job(*AVERAGED, *VARIANTS[name])
    alone(tmp_path).restore(resumed.state, 3)
    wanted, got = everything(straight), everything(run(resumed, 3))
    assert any("average/" in key for key in wanted)
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_evaluated_by_its_average(build_job: Callable[..., Job], tmp_path: Path, name: str) -> None:
    """As `tfscale evaluate` does, which once scored the averages of new, random weights."""
    job = run(build_job(*AVERAGED, *VARIANTS[name]), 4)
    saved(job, tmp_path)
    wanted = job.evaluator(job.state.consensus(), Split.TEST)
    own = for_evaluation(check_job(composed(*AVERAGED, *VARIANTS[name], "seed=5"), processes=1))
    other = build(own, connect(own, World()))
    (place,) = tmp_path.glob("step-*")
    restore_model(other.state, place)
    got = other.evaluator(other.state.consensus(), Split.TEST)
    assert got["loss"] == pytest.approx(wanted["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("given", "changed", "key"),
    [
        ("train.ema=null", "train.ema=0.5", "train.ema"),
        ("train.ema=0.5", "train.ema=null", "train.ema"),
        ("train.precision=float32", "train.precision=float16", "train.precision"),
        ("schedule=constant", "schedule=plateau", "the schedule"),
        ("schedule=plateau", "schedule=constant", "the schedule"),
    ],
)
def test_what_a_checkpoint_has_not_is_named_by_its_key(
    build_job: Callable[..., Job], tmp_path: Path, given: str, changed: str, key: str
) -> None:
    words = (*SMALL, "data.validation=0.1", *VARIANTS["horovod"])
    saved(build_job(*words, given), tmp_path)
    with pytest.raises(
        UserError, match=rf"only the \w+ has .*: {key} must be as in the checkpoint; leave the change out"
    ):
        alone(tmp_path).restore(build_job(*words, changed).state, 0)
