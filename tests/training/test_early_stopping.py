"""When a run has had enough, which evaluation was the best, and that both survive a restart."""

import math

import pytest

from tfscale.errors import UserError
from tfscale.training.early_stopping import EarlyStopping


def watching(**changes: object) -> EarlyStopping:
    values = {
        **dict.fromkeys(("monitor", "patience", "target", "max_loss")),
        "mode": "auto",
        "min_delta": 0.0,
        "keep_best": False,
        "has_validation": True,
        "directions": {"loss": "min", "accuracy": "max"},
    }
    return EarlyStopping(**{**values, **changes})  # pyright: ignore[reportArgumentType]


def fed(stopping: EarlyStopping, *values: float, name: str = "accuracy") -> list[str | None]:
    """What it says after each evaluation."""
    return [stopping.after_evaluation(step, {"loss": 9.0, name: value}) for step, value in enumerate(values, start=1)]


def test_by_default_nothing_ends_a_run_and_the_best_is_known() -> None:
    stopping = watching()
    assert fed(stopping, 0.1, 0.5, 0.4, 0.4, 0.2) == [None] * 5
    assert (stopping.best, stopping.best_step) == (0.5, 2)
    assert stopping.after_log(math.nan) is None


def test_patience_counts_evaluations_without_an_improvement() -> None:
    words = fed(watching(patience=2, min_delta=0.1), 0.1, 0.5, 0.55, 0.7, 0.71, 0.75, 0.9)
    assert words[:5] == [None] * 5, "0.55 is no improvement on 0.5, 0.7 is"
    assert words[5] == "accuracy has not improved for 2 evaluations (early_stopping.patience)"


@pytest.mark.parametrize(
    ("settings", "name", "values", "best"),
    [
        ({"monitor": "loss"}, "loss", (3, 1, 2), 1),
        ({}, "accuracy", (3, 1, 2), 3),
        ({"monitor": "error", "mode": "min", "directions": {"error": None}}, "error", (3, 1, 2), 1),
        ({"directions": {"loss": "min", "mae": "min"}}, "mae", (3, 1, 2), 1),
        ({"monitor": "loss", "mode": "max"}, "loss", (3, 1, 2), 3),
        ({}, "accuracy", (math.nan, 2, math.nan), 2),
    ],
)
def test_less_or_more_is_better(settings: dict, name: str, values: tuple[float, ...], best: float) -> None:
    stopping = watching(**settings)
    fed(stopping, *values, name=name)
    assert stopping.best == best


def test_evaluations_that_are_no_numbers_are_no_improvement() -> None:
    assert fed(watching(patience=2), math.nan, math.nan)[1] is not None


def test_a_target_and_a_loss_that_is_too_large_end_a_run() -> None:
    assert fed(watching(target=0.9), 0.8, 0.9) == [None, "early_stopping.target=0.9 is reached: accuracy 0.9"]
    assert fed(watching(monitor="loss", target=0.2), 0.3, 0.1, name="loss")[1] is not None
    stopping = watching(max_loss=5.0)
    assert stopping.after_log(5.0) is None
    assert stopping.after_log(5.1) == "the training loss is 5.1, beyond early_stopping.max_loss=5"
    assert stopping.after_log(math.nan) is not None


def test_what_is_monitored_must_be_measured() -> None:
    with pytest.raises(UserError, match=r"early_stopping.monitor must be one of loss, accuracy, got f1"):
        watching(monitor="f1")


def test_a_metric_without_a_direction_decides_nothing_until_it_is_given_one() -> None:
    directions = {"loss": "min", "odd": None}
    stopping = watching(directions=directions)
    assert fed(stopping, 1.0, 2.0, name="odd") == [None, None]
    assert stopping.best_step == -1
    for settings in ({"patience": 2}, {"target": 1.0}, {"keep_best": True}):
        with pytest.raises(UserError, match=r"early_stopping.mode must be min or max for odd, which does not say"):
            watching(directions=directions, **settings)


def test_its_state_survives() -> None:
    first, second = watching(patience=3), watching(patience=3)
    fed(first, 0.5, 0.4, 0.4)
    second.load(first.arrays())
    assert fed(second, 0.3)[0] is not None
    assert (second.best, second.best_step) == (0.5, 1)


def test_that_a_run_was_to_end_survives_and_its_last_evaluation_counts_once() -> None:
    for settings, values in (({"patience": 2}, (0.5, 0.4, 0.4)), ({"target": 0.9}, (0.5, 0.9))):
        first, second = watching(**settings), watching(**settings)
        words = fed(first, *values)[-1]
        assert first.ended
        assert not second.ended
        second.load(first.arrays())
        assert second.ended
        assert second.after_evaluation(len(values), {"accuracy": values[-1]}) == words
        assert second.arrays() == first.arrays()
    first, second = watching(max_loss=5.0), watching(max_loss=5.0)
    first.after_log(6.0)
    second.load(first.arrays())
    assert second.ended
