"""What tfscale does not do yet is refused by name, or warned of: nothing is cast or ignored without a word."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import odd
from tfscale.errors import UserError
from tfscale.job.build import Job

OWN = ("trust=[tests.support.odd]", "strategy.replicas=1", "train.batch=4")
SMALL = ("data=synthetic", "data.shape=[6]", "data.examples=20", "data.test_examples=10", "model.hidden=[4]")
EXAMPLES = {
    "float targets": r"y_train must be whole numbers, got float64",
    "targets of two axes": r"y_test must have one label for each x_test, shape \(10,\), got \(10, 2\)",
    "targets without inputs": r"y_train must have one label for each x_train, shape \(10,\), got \(5,\)",
    "targets beyond classes": r"y_test must be from 0 to 1 \(classes=2\), got 1 to 2",
    "negative targets": r"y_train must be from 0 to 1 \(classes=2\), got -1 to 0",
    "no test examples": r"x_test must have at least one example .*, got shape \(0, 3\)",
    "no training examples": r"x_train must have at least one example .*, got shape \(0, 3\)",
    "other dtypes": r"x_train and x_test must be alike, got float32 \(3,\) and float64 \(3,\)",
    "other shapes": r"x_train and x_test must be alike, got float32 \(3,\) and float32 \(4,\)",
    "text": r"x_train must hold real numbers, got <U1",
    "float ids": r"x_train must hold ids, which are whole numbers, got float32",
    "ids beyond the vocabulary": r"x_train must be from 0 to 4 \(vocabulary=5\), got 8 to 9",
}


def own(part: str, name: str) -> str:
    return f"{part}._target_=tests.support.odd.{name}"


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples_that_would_be_cast_or_cut_are_refused(build_job: Callable[..., Job], kind: str) -> None:
    with pytest.raises(UserError, match=EXAMPLES[kind]):
        build_job(*OWN, "data=npz", own("data", "examples"), f"data.file='{kind}'")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((own("model", "stepping"),), r"the model's own train_step would not be called; leave it out"),
        ((own("optimizer", "scaling"),), r"optimizer must not be a LossScaleOptimizer: losses are not scaled"),
        ((own("optimizer", "averaged"),), r"optimizer.use_ema must be false"),
    ],
)
def test_parts_that_rely_on_what_is_not_done_are_refused(
    build_job: Callable[..., Job], words: tuple[str, ...], wanted: str
) -> None:
    with pytest.raises(UserError, match=wanted):
        build_job(*OWN, *SMALL, *words)


def test_a_loss_of_more_than_one_number_an_example_is_refused(build_job: Callable[..., Job]) -> None:
    from tests.support.in_place import run

    job = build_job(*OWN, *SMALL, own("loss", "WholeLoss"))
    with pytest.raises(UserError, match=r"loss must give one number for each example, .* got \(None, 10\) from WholeL"):
        run(job, 1)


def test_a_model_that_was_compiled_is_warned_of(build_job: Callable[..., Job]) -> None:
    (warning,) = build_job(*OWN, *SMALL, own("model", "compiled")).warnings
    assert warning.startswith("the model was compiled, which changes nothing")
    assert not build_job(*SMALL, "strategy.replicas=1").warnings


def test_arrays_that_are_files_are_warned_of(build_job: Callable[..., Job], tmp_path: Path) -> None:
    (warning,) = build_job(*OWN, "data=npz", own("data", "mapped"), f"data.file={tmp_path / 'x.npy'}").warnings
    assert warning == "x_train: memory-mapped arrays are read into memory as a whole, in every process"


@pytest.mark.parametrize("name", ["loss", "step", "name", "steps"])
def test_metrics_that_would_replace_a_figure_are_refused(build_job: Callable[..., Job], name: str) -> None:
    with pytest.raises(UserError, match=rf"metrics.{name} must have another name: {name} is a figure"):
        build_job(f"+metrics.{name}={{_target_: keras.metrics.Mean}}")


@pytest.mark.parametrize(("metric", "better"), [("MeanAbsoluteError", min), ("SparseCategoricalAccuracy", max)])
def test_early_stopping_takes_the_direction_of_the_metric(
    build_job: Callable[..., Job], metric: str, better: Callable[..., float]
) -> None:
    job = build_job(*SMALL, "strategy.replicas=1", f"metrics.accuracy._target_=keras.metrics.{metric}")
    stopping = job.state.early_stopping
    for step, value in enumerate((0.5, 0.4, 0.6)):
        stopping.after_evaluation(step, {"loss": 1.0, "accuracy": value})
    assert stopping.best == better(0.5, 0.4, 0.6)


def test_there_is_a_message_for_every_kind() -> None:
    assert len(EXAMPLES) == 12
    assert odd.examples("mapped").x_train.shape == (10, 3)
