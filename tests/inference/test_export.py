"""Exports: every format, verified in a process without tfscale; what fails never has the final name."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import pytest

from tests.support.forked_commands import ROOT, forked
from tests.support.processes import wait_until
from tests.support.trained_models import of_job, trained
from tfscale.config.exports import ENDINGS
from tfscale.errors import RunError, UserError
from tfscale.inference import export as exporting
from tfscale.inference.export import PACKAGES, TOLERANCE, export, require
from tfscale.inference.export_formats import METADATA, WRITERS
from tfscale.job.build import Job

CASES = [
    *((form, kind) for form in ENDINGS for kind in ("image", "table with categories", "words")),
    *(("tflite", "table with gaps"), ("onnx", "characters"), ("keras", "characters"), ("saved_model", "pairs")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "kind"), CASES)
def test_each_format_holds_each_kind_of_model(
    form: str, kind: str, build_job: Callable[..., Job], tmp_path: Path
) -> None:
    """`export` itself loads the file in a process without tfscale and compares; here it must have done so."""
    if form == "onnx":
        for name in PACKAGES["onnx"]:
            pytest.importorskip(name, reason="the packages of the extra onnx are not installed; type: make extras")
    path = tmp_path / f"model{ENDINGS[form][0]}"
    difference = export(trained(kind, build_job, tmp_path), form, path)
    assert path.exists() and difference <= TOLERANCE
    assert not list(tmp_path.glob(".*partial*"))


def test_weights_are_read_back_by_another_program(build_job: Callable[..., Job], tmp_path: Path) -> None:
    model = trained("image", build_job, tmp_path)
    assert export(model, "weights", tmp_path / "w.safetensors") == 0.0
    assert export(model, "weights", tmp_path / "w.weights.h5") == 0.0
    twin = keras.models.clone_model(model.model)
    twin.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(twin.get_weights()[0], model.model.get_weights()[0])


def test_the_metadata_are_in_a_keras_file(build_job: Callable[..., Job], tmp_path: Path) -> None:
    model = trained("table with categories", build_job, tmp_path)
    path = tmp_path / "m.keras"
    exporting.write(model, "keras", exporting.serving(model, WRITERS["keras"]), path)
    with zipfile.ZipFile(path) as archive:
        found = json.loads(archive.read(METADATA))
    assert found["classes"] == {"output": ["no", "yes"]} and found["outputs"] == ["output"]
    loaded: Any = keras.models.load_model(path)
    assert loaded.output_shape == (None, 2)


def damage(monkeypatch: pytest.MonkeyPatch, form: str, after: Callable[[Path], None]) -> None:
    """Lets a writer leave something else than it was to write."""
    write = WRITERS[form].write

    def damaged(model: keras.Model, path: Path, metadata: Mapping[str, Any]) -> None:
        write(model, path, metadata)
        after(path)

    monkeypatch.setattr(exporting, "WRITERS", {**WRITERS, form: replace(WRITERS[form], write=damaged)})


def test_an_export_with_other_weights_is_not_kept(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained("image", build_job, tmp_path)

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-2] ^= 0x40
        path.write_bytes(content)

    damage(monkeypatch, "weights", flip)
    with pytest.raises(RunError, match="format=weights changes the outputs of this model by"):
        export(model, "weights", tmp_path / "w.safetensors")
    assert not list(tmp_path.glob("*w.safetensors*"))


@pytest.mark.slow
def test_an_export_that_rounds_inputs_too_much_is_not_kept(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """Timestamps need 64 bits, which TensorFlow Lite lacks: outputs of real rows were others, and nobody said so."""
    rows = "".join(f"{1_700_000_000 + 37 * n % 200},{'ab'[n % 2]}\n" for n in range(40))
    (tmp_path / "t.csv").write_text("t,y\n" + rows)
    words = ("data=table", f"data.file={tmp_path}/t.csv", "data.label=y", "data.normalize=standardize")
    model = of_job(build_job(*words, "strategy.replicas=1"))
    with pytest.raises(RunError, match="format=tflite changes the outputs of this model by"):
        export(model, "tflite", tmp_path / "m.tflite")


def test_half_an_export_is_not_kept(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(monkeypatch, "keras", lambda path: path.write_bytes(path.read_bytes()[:3000]))
    with pytest.raises(RunError, match="the export cannot be loaded without tfscale"):
        export(trained("image", build_job, tmp_path), "keras", tmp_path / "m.keras")
    assert not list(tmp_path.glob("*m.keras*"))


@pytest.mark.slow
def test_a_killed_export_has_no_final_name(tmp_path: Path) -> None:
    """Killed while it verifies what it has written; the name is given after that."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = forked().completed(["train", "train.steps=3", "run.name=r"], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "tfscale", "export", "r", "format=saved_model", "to=out"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    wait_until(lambda: bool(list(tmp_path.glob(".*partial*/saved_model.pb"))))
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in family:
        each.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=20)
    assert not (tmp_path / "out").exists()


def test_a_lambda_is_code_and_no_layer_of_keras(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """Keras itself refuses to load it, so the file at a run's end would have been of no use."""
    job = build_job("data=digits", "strategy.replicas=1")
    x = keras.Input((8, 8, 1))
    model = keras.Model(x, job.state.replicas[0].model(keras.layers.Lambda(lambda each: each)(x)))
    with pytest.raises(UserError, match=r"got keras\.layers\.Lambda; choose saved_model"):
        export(replace(of_job(job), model=model), "keras", tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("form", "name", "message"),
    [
        ("keras", "taken.keras", "to must be a new name, got .*taken.keras, which exists"),
        ("keras", "a.h5", r"to must end in \.keras for format=keras, got .*a\.h5"),
        ("weights", "a.h5", r"to must end in \.safetensors or \.weights\.h5"),
        ("tflite", "no/a.tflite", "to must lie in an existing folder"),
    ],
)
def test_a_wrong_name_is_refused_at_once(form: str, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "taken.keras").touch()
    with pytest.raises(UserError, match=message):
        require(form, tmp_path / name)


def test_a_model_of_the_users_own_class_needs_saved_model(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """A .keras file of it would load only where its class is; the message names the class and the other format."""
    job = build_job("data=digits", "strategy.replicas=1")

    class Own(keras.Model):
        def __init__(self, inner: keras.Model) -> None:
            super().__init__()
            self.inner = inner

        def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
            return self.inner(x)  # pyright: ignore[reportReturnType]

    model = replace(of_job(job), model=Own(job.state.replicas[0].model))
    with pytest.raises(UserError, match=r"got .*Own; choose saved_model"):
        export(model, "keras", tmp_path / "m.keras")


def test_the_script_that_verifies_imports_nothing_of_tfscale(tmp_path: Path) -> None:
    """It runs on a copy outside of the package, and makes every import of tfscale fail."""
    copy = shutil.copy(Path(str(exporting.export_check.__file__)), tmp_path / "check.py")
    np.savez(tmp_path / "in.npz")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(tmp_path / "w.weights.h5")
    words = [sys.executable, "-P", str(copy), "weights", "w.weights.h5", "in.npz", "out.npz"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as file:
        assert len(file.files) >= 2
