"""The learning rate falls when evaluations show no improvement, in every process and after a restart alike."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.checkpoints import alone, everything, saved
from tests.support.in_place import SMALL, VARIANTS, run
from tests.support.whole_runs import go
from tfscale.config.preflight import check_job, preflight
from tfscale.errors import RunError, UserError
from tfscale.job.build import Job
from tfscale.training.plateau import Plateau

WORDS = (*SMALL, "schedule=plateau", "schedule.patience=2", "data.validation=0.1", *VARIANTS["sharing"])


def schedule(*, monitor: str = "loss", **changes: float) -> Plateau:
    values = {"factor": 0.1, "patience": 2, "min_delta": 0.0, "cooldown": 0, "min_learning_rate": 0.0, **changes}
    made = Plateau(learning_rate=1.0, total_steps=9, monitor=monitor, mode="auto", **values)  # pyright: ignore[reportArgumentType]
    made.watch({"loss": "min", "accuracy": "max"}, has_validation=True)
    return made


def fed(made: Plateau, *values: float, name: str = "loss") -> list[float]:
    """The rate after each evaluation."""
    rates = []
    for value in values:
        made.after_evaluation({"loss": 0.0, name: value})
        rates.append(round(float(made.rate()), 6))
    return rates


def test_the_rate_falls_after_evaluations_without_an_improvement() -> None:
    assert fed(schedule(), 3, 2, 2, 2, 2, 1, 1, 1) == [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01]
    assert fed(schedule(monitor="accuracy"), 1, 2, 3, 3, 2, name="accuracy") == [1, 1, 1, 1, 0.1]
    assert fed(schedule(min_delta=0.5), 3, 2.8, 2.6, 2.4) == [1, 1, 0.1, 0.1]
    assert fed(schedule(), 3, float("nan"), float("nan")) == [1, 1, 0.1]


def test_a_pause_after_a_reduction_counts_nothing_and_the_rate_has_a_bound() -> None:
    assert fed(schedule(cooldown=2), 1, 1, 1, 1, 1, 1, 1) == [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert fed(schedule(min_learning_rate=0.05), 1, 1, 1, 1, 1, 1, 1) == [1, 1, 0.1, 0.1, 0.05, 0.05, 0.05]


def test_a_change_is_said() -> None:
    made = schedule()
    assert [made.after_evaluation({"loss": 1.0}) for _ in range(3)] == [
        None,
        None,
        "loss has not improved for 2 evaluations: learning rate 0.1",
    ]


def test_a_restored_schedule_goes_on_where_it_was() -> None:
    made, other = schedule(), schedule()
    fed(made, 3, 3, 3, 3)
    other.load(made.arrays())
    assert fed(other, 3) == fed(made, 3) == [0.01]


def test_it_needs_validation_examples_and_a_figure_that_is_measured(build_job: Callable[..., Job]) -> None:
    with pytest.raises(UserError, match=r"schedule=plateau must have validation examples, .* data.validation=0.1"):
        build_job(*WORDS, "data.validation=null")
    with pytest.raises(UserError, match=r"schedule.monitor must be one of loss, accuracy, got recall"):
        build_job(*WORDS, "schedule.monitor=recall")


def test_all_optimizers_take_the_rate_and_a_checkpoint_keeps_it(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = run(build_job(*WORDS), 1)
    plateau = job.state.plateau
    assert plateau is not None
    for _ in range(3):
        plateau.after_evaluation({"loss": 1.0})
    assert [float(each.optimizer.learning_rate) for each in job.state.replicas] == pytest.approx([0.005, 0.005])
    saved(job, tmp_path)
    resumed = build_job(*WORDS, "optimizer.learning_rate=0.02")
    alone(tmp_path).restore(resumed.state, 1)
    assert float(resumed.state.replicas[1].optimizer.learning_rate) == pytest.approx(0.002)


def test_a_lower_bound_above_the_rate_is_refused() -> None:
    words = ["schedule=plateau", "schedule.min_learning_rate=0.5", "optimizer.learning_rate=0.1", "data.validation=0.1"]
    with pytest.raises(UserError, match=r"schedule.min_learning_rate must be <= optimizer.learning_rate=0.1, got 0.5"):
        check_job(preflight(words, config_dir=None), processes=1)


def test_a_monitor_that_is_not_measured_is_refused_before_tensorflow_starts() -> None:
    words = ["schedule=plateau", "schedule.monitor=recall", "metrics=accuracy", "data.validation=0.1"]
    with pytest.raises(UserError, match=r"schedule.monitor must be one of loss, .*accuracy.*, got recall"):
        check_job(preflight(words, config_dir=None), processes=1)


def test_a_run_that_is_stopped_at_an_evaluation_counts_it(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """The evaluation of that step was left out, and the resumed run had other learning rates."""
    words = (*WORDS, "schedule.patience=1", "train.steps=6", "train.evaluate_every=2", "schedule.min_delta=100")
    whole = build_job(*words)
    go(whole, tmp_path / "whole")

    def stop(step: int, is_sync_step: Callable[[int], bool]) -> Exception | None:
        return RunError("stopped") if step == 4 else None

    with pytest.raises(RunError, match="stopped"):
        go(build_job(*words), tmp_path / "half", stop)
    resumed = build_job(*words)
    alone(tmp_path / "half").restore(resumed.state, 4)
    go(resumed, tmp_path / "half")
    wanted, got = everything(whole), everything(resumed)
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)
