"""Weights to begin with, from runs and files: what fits is taken, what does not is named, and nothing is cast."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.support.checkpoints import saved as save_checkpoint
from tests.support.in_place import SHARING, run
from tfscale.checkpoint.reader import Checkpoint
from tfscale.config import preflight, saved
from tfscale.errors import UserError
from tfscale.job.build import Job

DATA = ("data=synthetic", "data.shape=[6]", "data.examples=64", "data.test_examples=16", "train.batch=8")
WORDS = (*DATA, "model.hidden=[5]", "strategy.replicas=2")
OTHER_HEAD = "data.classes=3"


def weights(job: Job, index: int = 0) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in job.state.replicas[index].model.weights}


@pytest.fixture
def trained(build_job: Callable[..., Job]) -> Job:
    return run(build_job(*WORDS, "seed=1"), 5)


@pytest.fixture
def runs(trained: Job, tmp_path: Path) -> Path:
    """A folder with the run first, as a command leaves it."""
    path = tmp_path / "runs" / "first"
    path.mkdir(parents=True)
    saved.write(preflight.check_job(preflight.preflight([*WORDS], config_dir=None), processes=1), path)
    save_checkpoint(trained, path / "checkpoints")
    return path.parent


def written(folder: Path, kind: str, job: Job) -> str:
    """Writes the weights of a job's first replica in a format, and returns the words that begin with them."""
    path, model = folder / f"w{kind}", job.state.replicas[0].model
    match kind:
        case ".npz":
            np.savez(path, **weights(job))
        case ".safetensors":
            safetensors.numpy.save_file(weights(job), path)
        case ".keras":
            model.save(path)
        case _:
            model.save_weights(path)
    return str(path)


def test_a_run_gives_the_consensus_of_its_newest_checkpoint(
    build_job: Callable[..., Job], trained: Job, runs: Path
) -> None:
    job = build_job(*WORDS, "model.init_from=run:first", f"run.dir={runs}")
    assert job.notes == ["from run first: 4 of 4 arrays"]
    np.testing.assert_array_equal(
        job.state.replicas[1].parameters()[: job.layout.size], trained.state.consensus()[: job.layout.size]
    )


@pytest.mark.parametrize("kind", [".npz", ".safetensors", ".keras", ".weights.h5"])
def test_a_file_of_each_format_is_read(build_job: Callable[..., Job], trained: Job, tmp_path: Path, kind: str) -> None:
    file = written(tmp_path, kind, trained)
    words = [f"model.init_from={file}", *[f"trust=[{file}]"] * (kind in (".keras", ".weights.h5"))]
    job = build_job(*WORDS, *words, *SHARING)
    assert job.notes == [f"from {file}: 4 of 4 arrays"]
    for index in range(2):
        for path, value in weights(job, index).items():
            np.testing.assert_array_equal(value, weights(trained)[path], err_msg=path)


@pytest.mark.parametrize("kind", [".npz", ".keras"])
def test_another_number_of_classes_keeps_its_new_head_and_says_so(
    build_job: Callable[..., Job], trained: Job, tmp_path: Path, kind: str
) -> None:
    file = written(tmp_path, kind, trained)
    fresh = weights(build_job(*WORDS, OTHER_HEAD))
    job = build_job(*WORDS, OTHER_HEAD, f"model.init_from={file}", f"trust=[{file}]" if kind == ".keras" else "seed=1")
    first, second = [path for path in fresh if "dense_1" in path]
    why = ("shape 5x3, there 5x10", "shape 3, there 10") if kind == ".npz" else ("not there, or of another shape",) * 2
    assert job.notes == [f"from {file}: 2 of 4 arrays; left as initialised: {first} ({why[0]}), {second} ({why[1]})"]
    for path, value in weights(job).items():
        if path in (first, second):
            assert np.isfinite(value).all() and value.shape == fresh[path].shape
        else:
            np.testing.assert_array_equal(value, weights(trained)[path])


def test_what_is_left_is_as_it_would_be_without(build_job: Callable[..., Job], trained: Job, tmp_path: Path) -> None:
    """Keras's files are found out by filling the model with NaN: every value that is not loaded comes back."""
    fresh = weights(build_job(*WORDS, OTHER_HEAD))
    file = written(tmp_path, ".keras", trained)
    job = build_job(*WORDS, OTHER_HEAD, f"model.init_from={file}", f"trust=[{file}]")
    head = [path for path in fresh if "dense_1" in path]
    assert len(head) == 2
    for path in head:
        np.testing.assert_array_equal(weights(job)[path], fresh[path])


def test_arrays_are_not_cast(build_job: Callable[..., Job], trained: Job, tmp_path: Path) -> None:
    arrays = weights(trained)
    kernel = next(path for path in arrays if path.endswith("dense/kernel"))
    np.savez(tmp_path / "w.npz", **{**arrays, kernel: arrays[kernel].astype(np.float64)})
    job = build_job(*WORDS, f"model.init_from={tmp_path}/w.npz")
    assert job.notes[0].endswith(f"3 of 4 arrays; left as initialised: {kernel} (float32, there float64)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"cannot be read"),
        (b"PK\x03\x04 and no more", r"cannot be read"),
        ({"a": np.array([{}], object)}, r"cannot be read: .*allow_pickle=False"),
        (
            {"other/kernel": np.zeros((2, 3))},
            r"must have an array .*the model has .*; there is other/kernel \(shape 2x3",
        ),
        ({}, r"must have an array .*; there is nothing"),
    ],
)
def test_a_file_that_gives_nothing_is_one_message(
    build_job: Callable[..., Job], tmp_path: Path, content: bytes | dict[str, np.ndarray], message: str
) -> None:
    file = tmp_path / "w.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.savez(file, **content)
    with pytest.raises(UserError, match=f"model.init_from={file} {message}"):
        build_job(*WORDS, f"model.init_from={file}")


def test_a_run_without_a_checkpoint_is_refused(build_job: Callable[..., Job], runs: Path) -> None:
    for path in (runs / "first" / "checkpoints").glob("step-*/MANIFEST.json"):
        path.write_text("{")
    with pytest.raises(UserError, match=r"model.init_from=run:first: run first has no intact checkpoint; train it"):
        build_job(*WORDS, "model.init_from=run:first", f"run.dir={runs}")


def test_the_best_checkpoint_is_that_of_the_best_evaluation(build_job: Callable[..., Job], runs: Path) -> None:
    with pytest.raises(UserError, match=r"model.init_from=run:first@best: .*early_stopping.keep_best=true"):
        build_job(*WORDS, "model.init_from=run:first@best", f"run.dir={runs}")


@pytest.mark.slow
def test_fine_tuning_is_two_commands(tmp_path: Path) -> None:
    """The base of the first run comes out of the second with the bits that it went in with; resuming reads no run."""

    def tfscale(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-m", "tfscale", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    tfscale("train", "run.name=first", "train.steps=40")
    new = ("data=synthetic", "data.shape=[8,8,1]", "data.classes=3", "strategy=sharing", "launch.np=2")
    words = ("run.name=second", "model.init_from=run:first", "model.freeze=[dense,dense_1]", "train.steps=20")
    out = tfscale("train", *words, *new)
    assert "from run first: 4 of 6 arrays; left as initialised: sequential/dense_2/kernel (shape 128x3, " in out
    assert "mlp: 387 trainable parameters, 49,536 frozen" in out
    first.rename(tmp_path / "gone")
    assert "going on after step 20" in tfscale("resume", "second", "train.steps=30")
    (old,) = (tmp_path / "gone" / "checkpoints").glob("step-*40")
    (after,) = (second / "checkpoints").glob("step-*30")
    kernels = [_kernel(checkpoint) for checkpoint in (old, after)]
    np.testing.assert_array_equal(*kernels)


def _kernel(checkpoint: Path) -> np.ndarray:
    """The first layer's kernel, whose slices lie in the shared files, or else in that of the consensus."""
    found = Checkpoint(checkpoint)
    return {**found.shared(), **found.model()}["model/sequential/dense/kernel"]
