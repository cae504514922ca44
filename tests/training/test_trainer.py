"""A whole run: what it records, when, and what its summary says."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import IN_PROCESS, SMALL, VARIANTS
from tests.support.marks import quick
from tests.support.whole_runs import go
from tfscale.collectives import consistency
from tfscale.data.base import Shard
from tfscale.errors import EarlyEnd, RunError, UserError
from tfscale.job.build import Job
from tfscale.supervision.phase import Phase
from tfscale.training import loop
from tfscale.training.checkpoints import best as best_checkpoint
from tfscale.training.metrics import examples_seen
from tfscale.training.trainer import automatic_interval, require_steps_left

VALIDATED = ("data.validation=0.1",)


def test_everything_happens_every_so_many_steps_and_at_the_end(build_job: Callable[..., Job], tmp_path: Path) -> None:
    every = ("train.log_every=3", "train.evaluate_every=4", "train.checkpoint_every=5", "train.steps=11")
    _, memory = go(build_job(*SMALL, *VALIDATED, *every), tmp_path)
    assert memory.seen == list(range(1, 12))
    assert [each["step"] for each in memory.steps] == [3, 6, 9, 11]
    assert [each["step"] for each in memory.evaluations] == [4, 8, 11]
    assert [each["step"] for each in memory.tests] == [11], "the test is measured once"
    assert memory.details_of == list(range(1, 12)), "every step is told of once"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:09d}" for step in (5, 10, 11)]


@pytest.mark.parametrize(("epoch", "interval"), [(1, 10), (3, 12), (7, 14), (9, 18), (10, 10), (11, 11), (500, 500)])
def test_an_automatic_interval_is_a_multiple_of_an_epoch_and_at_least_ten_steps(epoch: int, interval: int) -> None:
    """200 epochs of one step once took a minute: an evaluation and a checkpoint followed every step."""
    assert automatic_interval(epoch) == interval


def test_short_epochs_are_evaluated_and_saved_every_few_epochs(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """The plan depends on the step number alone, so a resumed run evaluates and saves at the same steps."""
    job = build_job(*SMALL, "data.validation=0.02", "train.batch=34", "train.epochs=9")
    assert (job.plan.steps, job.plan.evaluate_every, job.plan.checkpoint_every) == (27, 12, 12)
    _, memory = go(job, tmp_path)
    assert [each["step"] for each in memory.evaluations] == [12, 24, 27]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:09d}" for step in (12, 24, 27)]
    every = build_job(*SMALL, "train.batch=50", "train.evaluate_every=1", "train.checkpoint_every=2")
    assert (every.plan.evaluate_every, every.plan.checkpoint_every) == (1, 2), "what is configured stays"


def test_a_plan_that_ends_before_the_steps_completed_is_refused(build_job: Callable[..., Job]) -> None:
    """`tfscale resume NAME train.steps=3` after 6 steps once printed "step 6/3"."""
    plan = build_job(*SMALL, "train.steps=3").plan
    message = (
        r"train.steps or train.epochs must give at least 6 steps, which the run has completed, got 3; give a larger"
    )
    with pytest.raises(UserError, match=message):
        require_steps_left(plan, 6)
    require_steps_left(plan, 3)


def test_the_summary_counts_steps_examples_and_bytes(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL, "strategy=horovod", "strategy/collective=in_process", "train.epochs=2", "train.batch=16")
    results, memory = go(job, tmp_path)
    assert results["steps"] == 2 * 7, "203 examples, 32 a step"
    assert (results["epochs"], results["examples"]) == (2, 406)
    assert results["bytes_dense"] == 14 * 2 * 4 * job.layout.size
    assert results["bytes_sent"] == 14 * 2 * 4 * (job.layout.size + 2 * consistency.SLOTS), "and two digests"
    assert results["bytes_ratio"] == round(results["bytes_dense"] / results["bytes_sent"], 2)
    assert memory.steps[-1]["epoch"] == 2
    assert results["accuracy"] == pytest.approx(memory.tests[-1]["accuracy"], abs=1e-6)
    assert len(results["parameters_sha256"]) == 64


def test_one_replica_exchanges_nothing(build_job: Callable[..., Job], tmp_path: Path) -> None:
    results, _ = go(build_job(*SMALL, "strategy.replicas=1", "train.steps=6"), tmp_path)
    assert (results["bytes_sent"], results["bytes_dense"], results["bytes_ratio"]) == (0, 0, None)


def test_the_averaged_models_loss_is_reported_if_asked_for(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """Also when an averaging does not fall on a step that is logged: the latest one since then counts."""
    words = (*SMALL, "strategy=local", "strategy.every=2", "train.log_every=3", "train.steps=9", "optimizer=sgd")
    asked = (*words, "strategy.report_after_averaging=true")
    _, memory = go(build_job(*asked), tmp_path / "a")
    assert len(memory.steps) == 3
    assert all(0 < each["loss_after_averaging"] != each["loss"] for each in memory.steps)
    _, memory = go(build_job(*words), tmp_path / "b")
    assert not any("loss_after_averaging" in each for each in memory.steps)


def test_the_last_step_synchronises(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL, "strategy=local", "strategy.every=4", "train.steps=6")
    go(job, tmp_path)
    one, two = (replica.parameters().numpy() for replica in job.state.replicas)
    assert (one == two).all()


def test_a_run_that_is_asked_to_stop_saves_first(build_job: Callable[..., Job], tmp_path: Path) -> None:
    answers = iter([None, None, KeyError("enough")])
    with pytest.raises(KeyError, match="enough"):
        go(
            build_job(*SMALL, "train.steps=6", "train.checkpoint_every=2"),
            tmp_path,
            lambda step, is_sync_step: next(answers),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000002", "step-000000003"]


def test_a_run_that_has_had_enough_ends_well(build_job: Callable[..., Job], tmp_path: Path) -> None:
    def stop(step: int, is_sync_step: Callable[[int], bool]) -> Exception | None:
        return EarlyEnd("it is late") if step == 3 else None

    results, memory = go(build_job(*SMALL, *VALIDATED, "train.steps=6", "train.log_every=2"), tmp_path, stop)
    assert (results["steps"], memory.seen[-1], results["ended_early"]) == (3, 3, "it is late")
    assert [each["step"] for each in memory.steps] == [2, 3]
    assert [each["step"] for each in memory.evaluations] == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003"]


def test_a_run_that_does_not_improve_ends_and_keeps_its_best_checkpoint(
    build_job: Callable[..., Job], tmp_path: Path
) -> None:
    """The learning rate is so large that the first evaluation stays the best."""
    words = (
        *("optimizer=sgd", "optimizer.learning_rate=100.0", "train.steps=50", "train.evaluate_every=3"),
        *("early_stopping.patience=3", "early_stopping.monitor=loss", "early_stopping.keep_best=true"),
    )
    job = build_job(*SMALL, *VALIDATED, "data.noise=3.0", *words)
    results, memory = go(job, tmp_path, keep=1)
    losses = [each["loss"] for each in memory.evaluations]
    best = min(range(len(losses)), key=lambda index: losses[index])
    assert len(losses) == best + 4, "three more evaluations, none of them better"
    assert results["steps"] == memory.steps[-1]["step"] == 3 * len(losses) < 50
    assert results["best_step"] == 3 * (best + 1)
    assert results["ended_early"] == "loss has not improved for 3 evaluations (early_stopping.patience)"
    names = [f"step-{results[step]:09d}" for step in ("best_step", "steps")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert best_checkpoint(tmp_path / names[1]).name == names[0]


def test_processes_that_average_meet_at_averagings_and_logs(build_job: Callable[..., Job], tmp_path: Path) -> None:
    met: dict[int, bool] = {}

    def stop(step: int, is_sync_step: Callable[[int], bool]) -> None:
        met[step] = is_sync_step(step)

    words = (*SMALL, "strategy=local", "strategy.every=4", "train.log_every=3", "train.steps=9")
    go(build_job(*words), tmp_path / "a", stop)
    assert [step for step, there in met.items() if there] == [3, 4, 6, 8]
    go(build_job(*SMALL, "strategy=sharing", IN_PROCESS, "train.steps=4"), tmp_path / "b", stop)
    assert met[1] is met[2] is met[3] is True


def test_the_heartbeat_reports_every_phase(build_job: Callable[..., Job], tmp_path: Path) -> None:
    words = ("strategy=local", "strategy.every=2", "train.steps=2", "train.log_every=2")
    _, memory = go(build_job(*SMALL, *words), tmp_path)
    assert memory.phases[:5] == [
        *((Phase.DATA, 0), (Phase.STEP, 0), (Phase.DATA, 1), (Phase.STEP, 1)),
        (Phase.AVERAGING, 1),
    ]
    assert [phase for phase, _ in memory.phases[5:]] == [
        Phase.LOGGING,
        Phase.DISK,
        Phase.SAVING,
        Phase.DISK,
        Phase.EVALUATING,
        *[Phase.EVALUATION_BATCH] * 2,
        Phase.DISK,
        Phase.CLOSING,
    ]


@pytest.mark.parametrize(("step", "seen"), [(0, 0), (1, 32), (6, 192), (7, 203), (8, 235), (14, 406)])
def test_examples_seen_knows_the_ragged_batch(step: int, seen: int) -> None:
    assert examples_seen(step, 203, 32) == seen


def poisoned(job: Job, monkeypatch: pytest.MonkeyPatch, *numbers: int, ranks: Sequence[int] = (1,)) -> Job:
    """The job, with a NaN in what some ranks see at some steps."""
    clean = job.data.train

    def train(shard: Shard, *, start: int, **settings: int) -> Iterator[tuple[tf.Tensor, ...]]:
        for number, (x, y, weight) in enumerate(clean(shard, start=start, **settings), start=start):
            yield (x * np.nan if number in numbers and shard.rank in ranks else x), y, weight

    monkeypatch.setattr(job.data, "train", train)
    return job


@pytest.mark.parametrize(
    "strategy",
    quick(
        ["sharing", "sharing updates", "sharing in groups", "local", "local, int8"], only=["sharing updates", "local"]
    ),
)
def test_a_rollback_puts_the_newest_checkpoint_back_and_goes_on_with_other_examples(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    words = (*SMALL, *VARIANTS[strategy], "train.checkpoint_every=10", "train.nonfinite=rollback", "model.dropout=0.2")
    job = poisoned(build_job(*words, "train.steps=16", "train.log_every=1"), monkeypatch, 13)
    seen: list[dict[str, np.ndarray]] = []
    results, memory = go(job, tmp_path, lambda step, is_sync_step: seen.append(job.state.replica_arrays(0)))
    assert results["steps"] == 16
    ((step, said),) = memory.remarks
    assert said == "a gradient was not finite; back to step-000000010, and on with the examples after"
    for name, value in seen[9].items():
        if name.endswith(("iterations", "iteration", "skipped_steps")):
            continue
        np.testing.assert_array_equal(seen[step - 1][name], value, name)
    assert int(job.state.strategy.measurements()["skipped_steps"]) == 1
    assert all(np.isfinite(each).all() for each in job.state.replica_arrays(0).values())


@pytest.mark.parametrize("strategy", ["sharing", "local"])
def test_a_run_can_end_at_the_first_gradient_that_is_not_finite(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    job = build_job(*SMALL, *VARIANTS[strategy], "train.steps=40", "train.nonfinite=abort")
    with pytest.raises(RunError, match=r"not finite by step 1[45], and train.nonfinite=abort; lower"):
        go(poisoned(job, monkeypatch, 13), tmp_path)
    assert max(place.name for place in tmp_path.iterdir()) in ("step-000000014", "step-000000015"), "and is saved"


def test_a_checkpoint_that_leads_to_nan_again_and_again_is_not_put_back_for_ever(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SMALL, *VARIANTS["horovod"], "train.steps=60", "train.checkpoint_every=20", "train.nonfinite=rollback")
    with pytest.raises(RunError, match="11 times after step-000000020"):
        go(poisoned(build_job(*words), monkeypatch, *range(25, 60)), tmp_path)


@pytest.mark.parametrize("strategy", ["local", "local, one replica"])
def test_every_gradient_that_is_not_finite_is_noticed_after_a_rollback_too(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    own = ("strategy=local", "strategy.replicas=1") if "one" in strategy else VARIANTS[strategy]
    words = (*SMALL, *own, "train.steps=30", "train.checkpoint_every=10", "train.nonfinite=rollback")
    ranks = (0,) if "one" in strategy else (1,)
    job = poisoned(build_job(*words), monkeypatch, 12, 15, 18, 25, ranks=ranks)
    _, memory = go(job, tmp_path)
    assert [words for _, words in memory.remarks] == [
        f"a gradient was not finite; back to step-0000000{step}0, and on with the examples after"
        for step in ((1, 1, 2, 2) if strategy == "local" else (1, 1, 1, 2))  # heard of when they average
    ]
    assert int(job.state.strategy.measurements()["skipped_steps"]) == 4
    assert int(job.state.replicas[0].optimizer.iterations) == 30, "schedules end with the run"
    phases = [phase for phase, _ in memory.phases]
    assert phases.count(Phase.DISK) >= 4 + 3


def test_without_a_checkpoint_a_rollback_is_a_skip(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SMALL, *VARIANTS["horovod"], "train.steps=20", "train.nonfinite=rollback")
    _, memory = go(poisoned(build_job(*words), monkeypatch, 3), tmp_path)
    assert memory.remarks == [
        (4, "a gradient was not finite; there is no checkpoint to go back to, the step was skipped")
    ]


def test_waiting_for_data_is_a_figure_of_its_own(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only the data move: an input-bound job looked like a slow model."""
    job, now = build_job(*SMALL, "strategy.replicas=1", "train.steps=4", "train.log_every=2"), [0.0]
    feed = job.data.train

    def slow(*arguments: Any, **options: Any) -> Iterator[Any]:
        for batch in feed(*arguments, **options):
            now[0] += 3.0
            yield batch

    monkeypatch.setattr(job.data, "train", slow)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    results, memory = go(job, tmp_path)
    assert [record["data_share"] for record in memory.steps] == [1.0, 1.0]
    assert results["mean_data_seconds"] == results["mean_seconds"] == 3.0
