"""Keras callbacks: when they are called, with what, and that one can end a run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from tests.support import odd
from tests.support.forked_commands import ROOT, forked
from tests.support.in_place import SMALL
from tests.support.marks import quick
from tfscale.config.preflight import preflight
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.training.callbacks import KerasCallbacks
from tfscale.training.loop import StepInfo


class Noting(keras.callbacks.Callback):
    """Keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.calls.append(("begin", self.params["epochs"], self.params["steps"]))

    def on_train_end(self, logs: Any = None) -> None:
        self.calls.append(("end", logs))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float]) -> None:
        assert logs == {}
        self.calls.append(("epoch begins", epoch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(("epoch ends", epoch, logs))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.calls.append(("step begins", batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls.append(("step ends", batch, logs["loss"]))


def info(step: int, *losses: float) -> StepInfo:
    return StepInfo(
        step=step,
        losses=tf.constant(losses),
        averaged_losses=None,
        measurements=tf.zeros([0], tf.float64),
        remark=None,
        seconds=0.1,
        data_seconds=0.0,
    )


def model() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_callbacks_get_keras_s_numbers_and_the_results_of_validation() -> None:
    noting = Noting()
    calls = KerasCallbacks({"noting": noting}, model(), epoch=2, steps=3)
    calls.begin(0)
    calls.after_step(info(1, 1.0, 3.0), is_last=False)
    calls.validated({"loss": 0.5, "accuracy": 0.25})
    calls.after_step(info(2, 4.0), is_last=False)
    calls.after_step(info(3, 5.0), is_last=True)
    calls.end()
    assert noting.calls == [
        ("begin", 2, 2),
        *(("epoch begins", 0), ("step begins", 0), ("step ends", 0, 2.0), ("step begins", 1), ("step ends", 1, 4.0)),
        ("epoch ends", 0, {"loss": 3.0, "val_loss": 0.5, "val_accuracy": 0.25}),
        *(("epoch begins", 1), ("step begins", 0), ("step ends", 0, 5.0), ("epoch ends", 1, {"loss": 5.0})),
        ("end", {"loss": 5.0}),
    ]


def test_a_resumed_run_begins_within_its_epoch() -> None:
    noting = Noting()
    KerasCallbacks({"noting": noting}, model(), epoch=4, steps=8).begin(6)
    assert noting.calls[1:] == [("epoch begins", 1), ("step begins", 2)]


def test_a_method_that_is_not_called_is_refused() -> None:
    with pytest.raises(UserError, match=r"callbacks.mine has on_test_end, which tfscale does not call; use on_epoch"):
        KerasCallbacks({"mine": odd.Testing()}, model(), epoch=1, steps=1)
    with pytest.raises(UserError, match=r"callbacks.mine must be a keras.callbacks.Callback, got int"):
        KerasCallbacks({"mine": 3}, model(), epoch=1, steps=1)  # pyright: ignore[reportArgumentType]


def test_only_trusted_code_can_be_a_callback() -> None:
    for target in ("keras.callbacks.CSVLogger", "tests.support.odd.Ending"):
        with pytest.raises(UserError, match=rf"callbacks.mine._target_ must be code of your own, got {target}; "):
            preflight([f"+callbacks.mine._target_={target}"], config_dir=None)


@pytest.mark.horovod
@pytest.mark.parametrize("strategy", quick(["sharing", "horovod_averaging"], only=["sharing"]))
def test_a_callback_sees_the_chief_and_ends_the_run_of_all(tmp_path: Path, strategy: str) -> None:
    callback = ("tests.support.odd.Ending", f"+callbacks.mine.path={tmp_path}/seen", "+callbacks.mine.after=9")
    words = (*SMALL, "data.validation=0.2", f"strategy={strategy}", "launch.np=2", "run.name=one", "train.batch=16")
    own = ("trust=[tests.support.odd]", f"+callbacks.mine._target_={callback[0]}", *callback[1:])
    code, output = forked().run(["train", *words, *own], tmp_path, {**os.environ, "PYTHONPATH": str(ROOT)})
    assert code == 0, output
    assert "a callback has set model.stop_training" in output
    lines = (tmp_path / "seen").read_text().splitlines()
    assert lines[0] == "0 loss"
    assert "1 loss val_loss val_accuracy" in lines
    assert len({line.split()[0] for line in lines}) == len(lines), "one process calls it"


def test_callbacks_get_the_model_that_trains(build_job: Callable[..., Job]) -> None:
    job, noting = build_job(*SMALL, "strategy.replicas=2"), Noting()
    KerasCallbacks({"noting": noting}, job.state.replicas[0].model, epoch=job.plan.epoch, steps=9)
    assert noting.model is job.state.replicas[0].model
    assert noting.params["steps"] == 7  # 203 examples by 2 * 16, rounded up
