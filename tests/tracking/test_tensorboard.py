"""TensorBoard's files: curves that never go back, hyperparameters, histograms."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.tracked import tensorboard_curves
from tfscale.tracking.base import Kind, Record, RunInfo
from tfscale.tracking.tensorboard import FOLDER, TensorBoardTracker, hyperparameters, last_steps

loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader", reason="needs tensorboard")


def started(
    folder: Path, *, start: int = 0, earlier: tuple[tuple[Kind, int, Record], ...] = (), histograms: bool = False
) -> TensorBoardTracker:
    tracker = TensorBoardTracker(histograms=histograms, ratios=True)
    config = {"optimizer": {"learning_rate": 0.1}, "model": {"hidden": [8]}, "run": {"name": "one"}, "seed": None}
    tracker.start(
        RunInfo(
            name="one", folder=folder, config=config, start=start, steps=9, processes=1, earlier=lambda: list(earlier)
        )
    )
    return tracker


def test_a_second_start_writes_what_the_first_lacks_and_no_step_twice(tmp_path: Path) -> None:
    first = started(tmp_path)
    first.log(Kind.TRAIN, 1, {"loss": 4.0})
    first.log(Kind.TRAIN, 3, {"loss": 2.0})
    first.finish()
    recorded = ((Kind.TRAIN, 1, {"loss": 4.0}), (Kind.VALIDATION, 2, {"loss": 5.0}))  # the validation was lost
    second = started(tmp_path, start=2, earlier=recorded)
    for step, loss in ((3, 2.0), (4, 1.0)):
        second.log(Kind.TRAIN, step, {"loss": loss})
    second.finish()
    assert tensorboard_curves(tmp_path / FOLDER) == {
        "train/loss": [(1, 4.0), (3, 2.0), (4, 1.0)],
        "validation/loss": [(2, 5.0)],
    }


def test_a_file_that_a_kill_cut_off_counts_as_far_as_it_is_whole(tmp_path: Path) -> None:
    first = started(tmp_path)
    for step in (1, 2):
        first.log(Kind.TRAIN, step, {"loss": float(step)})
    first.finish()
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert last_steps(tmp_path / FOLDER, lambda: None)["train/loss"] == 1


def test_the_settings_of_a_job_are_its_hyperparameters(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    started(tmp_path).finish()
    started(tmp_path, start=2).finish()
    sessions = []
    for path in sorted((tmp_path / FOLDER).iterdir()):
        for event in loader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
                sessions.append(data.session_start_info)
    (session,) = sessions
    assert session.hparams["optimizer.learning_rate"].number_value == 0.1
    assert set(session.hparams) == {"optimizer.learning_rate", "model.hidden"}


def test_what_a_job_of_a_sweep_cannot_vary_is_no_hyperparameter() -> None:
    config = {"run": {"dir": "x"}, "tracker": {"a": 1}, "launch": {"np": 2}, "trust": ["m"], "train": {"batch": 8}}
    assert hyperparameters(config) == {"train.batch": 8}


def test_a_histogram_has_the_given_buckets(tmp_path: Path) -> None:
    from tensorboard.util.tensor_util import make_ndarray

    tracker = started(tmp_path, histograms=True)
    record = {"name": "dense/kernel", "of": "updates", "low": -1.0, "high": 1.0, "count_0": 3.0, "count_1": 4.0}
    tracker.log(Kind.HISTOGRAM, 5, record)
    tracker.log(Kind.TENSOR, 5, {"name": "dense/kernel", "update_ratio": 0.25, "density": 0.5})
    tracker.finish()
    (path,) = (tmp_path / FOLDER).iterdir()
    found = {
        value.tag: make_ndarray(value.tensor)
        for event in loader.EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag != "_hparams_/session_start_info"
    }
    assert found.keys() == {"updates/dense/kernel", "update_ratio/dense/kernel"}
    np.testing.assert_array_equal(found["updates/dense/kernel"], [[-1, 0, 3], [0, 1, 4]])
    assert found["update_ratio/dense/kernel"] == 0.25
