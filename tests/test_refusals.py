"""What tfscale does not do yet is refused by name, or warned of: nothing is cast or ignored without a word."""

from collections.abc import Callable

import pytest

from tests.support import odd
from tfscale.errors import UserError
from tfscale.job.build import Job

OWN = ("trust=[tests.support.odd]", "strategy.replicas=1", "train.batch=4")
SMALL = ("data=synthetic", "data.shape=[6]", "data.examples=20", "data.test_examples=10", "model.hidden=[4]")
EXAMPLES = {
    "targets of two axes": r"y_test must have targets of the shape of the training examples' \(\), got \(2,\)",
    "targets without inputs": r"y_train must have one target for each example, \[10, ...\], got shape \(5,\)",
    "targets beyond classes": r"y must be from 0 to 1 \(classes=2\), got 0 to 2",
    "negative targets": r"y must be from 0 to 1 \(classes=2\), got -1 to 1",
    "other target dtypes": r"y must have one dtype in all splits, got float64 for training, int32 for test",
    "targets that are not finite": r"y \(training\) must be finite, got nan in example 1",
    "dates": r"y \(training\) must be numbers or class names, got datetime64\[s\]",
    "a class without training examples": r"y \(test\) has the class 'c', which no training example has",
    "no test examples": r"x_test must have at least one example .*, got shape \(0, 3\)",
    "no training examples": r"x_train must have at least one example .*, got shape \(0, 3\)",
    "only x of the test": r"x and y must both be there for test, got only x",
    "a list": r"x_train must be a NumPy array, got list",
    "no features": r"x_train must have an axis of features after that of examples, got shape \(10,\)",
    "other dtypes": r"x_train and x_test must be alike, got float32 \(3,\) and float64 \(3,\)",
    "other shapes": r"x_train and x_test must be alike, got float32 \(3,\) and float32 \(4,\)",
    "text": r"x_train must hold real numbers, got <U1",
    "inputs that are not finite": r"x_train must be finite, got inf in example 4; .* data.missing=mean",
    "float ids": r"x_train must hold ids, which are whole numbers, got float32",
    "ids beyond the vocabulary": r"x_train must be from 0 to 4 \(vocabulary=5\), got 8 to 9",
    "weights below 0": r"weight must be finite numbers >= 0, not all 0",
    "too few weights": r"weight must be a number for each training example, shape \(10,\), got float64 \(3,\)",
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
        ((own("optimizer", "scaling"),), r"optimizer must not be a LossScaleOptimizer: .* train.precision=float16"),
        ((own("optimizer", "averaged"),), r"optimizer.use_ema must be false: .* type train.ema=0.999"),
    ],
)
def test_parts_that_rely_on_what_is_not_done_are_refused(
    build_job: Callable[..., Job], words: tuple[str, ...], wanted: str
) -> None:
    with pytest.raises(UserError, match=wanted):
        build_job(*OWN, *SMALL, *words)


def test_a_loss_without_an_axis_of_examples_is_refused(build_job: Callable[..., Job]) -> None:
    from tests.support.in_place import run

    job = build_job(*OWN, *SMALL, own("loss", "WholeLoss"))
    with pytest.raises(
        UserError, match=r"loss must give one number for each example, .* for the whole batch from Whole"
    ):
        run(job, 1)


def test_a_model_that_was_compiled_is_warned_of(build_job: Callable[..., Job]) -> None:
    (warning,) = build_job(*OWN, *SMALL, own("model", "compiled")).warnings
    assert warning.startswith("the model was compiled, which changes nothing")
    assert not build_job(*SMALL, "strategy.replicas=1").warnings


def test_examples_without_validation_or_test_are_warned_of(build_job: Callable[..., Job]) -> None:
    words = (*OWN, "data=npz", own("data", "examples"), "data.file='only training examples'")
    assert build_job(*words).warnings == [
        "there are neither validation nor test examples, so nothing is evaluated; type data.validation=0.1"
    ]
    with pytest.raises(UserError, match=r"early_stopping.patience must have validation examples, .* data.validation"):
        build_job(*words, "early_stopping.patience=3")
    assert not build_job(*words, "data.validation=0.2", "early_stopping.patience=3").warnings


@pytest.mark.parametrize("name", ["loss", "step", "name", "steps"])
def test_metrics_that_would_replace_a_figure_are_refused(build_job: Callable[..., Job], name: str) -> None:
    with pytest.raises(UserError, match=rf"metrics.{name} must have another name: {name} is a figure"):
        build_job(f"+metrics.{name}={{_target_: keras.metrics.Mean}}")


def test_a_metric_that_does_not_fit_the_targets_is_refused_before_training(build_job: Callable[..., Job]) -> None:
    """F1Score takes rows of 0 and 1: on class numbers it failed after the first epoch."""
    words = ("strategy.replicas=1", "+metrics.f1={_target_: keras.metrics.F1Score, average: macro}")
    with pytest.raises(UserError, match=r"metrics.f1 \(F1Score\) cannot score targets of task=classification: .*2D"):
        build_job(*SMALL, *words)


@pytest.mark.parametrize(("metric", "better"), [("MeanAbsoluteError", min), ("SparseCategoricalAccuracy", max)])
def test_early_stopping_takes_the_direction_of_the_metric(
    build_job: Callable[..., Job], metric: str, better: Callable[..., float]
) -> None:
    job = build_job(
        *SMALL,
        "data.validation=0.2",
        "strategy.replicas=1",
        "metrics=accuracy",
        f"metrics.accuracy._target_=keras.metrics.{metric}",
    )
    stopping = job.state.early_stopping
    for step, value in enumerate((0.5, 0.4, 0.6)):
        stopping.after_evaluation(step, {"loss": 1.0, "accuracy": value})
    assert stopping.best == better(0.5, 0.4, 0.6)


def test_there_is_a_message_for_every_kind() -> None:
    assert len(EXAMPLES) == 21
    assert odd.examples("mapped").x_train.shape == (10, 3)
