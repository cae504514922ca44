"""The Python interface: what a script or a notebook does with a run."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

import tfscale
from tests.support.forked_commands import ROOT, forked

TABLE = "size,color,big\n" + "".join(
    f"{n % 7},{'red' if n % 2 else 'blue'},{'yes' if n % 7 > 3 else 'no'}\n" for n in range(40)
)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on digits, on a table and on texts."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "t.csv").write_text(TABLE)
    (folder / "x.csv").write_text("text,label\n" + "good day,nice\nbad day,rude\n" * 8)
    runs = {
        "digits": ("train.epochs=2",),
        "table": ("data=table", "data.file=t.csv", "data.label=big", "train.epochs=40"),
        "texts": ("data=text", "data.file=x.csv", "data.length=3", "model=gru", "train.epochs=1"),
    }
    for name, words in runs.items():
        done = forked().completed(["train", *words, f"run.name={name}"], folder, os.environ)
        assert done.returncode == 0, done.stderr
    return folder


def test_importing_tfscale_imports_nothing_else() -> None:
    """A command line and a notebook both begin with it; TensorFlow takes seconds, Hydra and pydantic half of one."""
    code = (
        "import sys, tfscale; print([n for n in ('tensorflow','keras','hydra','pydantic','numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_public_names_are_listed() -> None:
    assert {"train", "load", "compose", "Run", "UserError", "RunError"} <= set(dir(tfscale))
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = tfscale.trian  # pyright: ignore[reportAttributeAccessIssue]


def test_compose_gives_the_checked_configuration() -> None:
    config = tfscale.compose("model=lenet", "train.batch=8")
    assert config["model"]["_target_"] == "tfscale.models.lenet.lenet" and config["train"]["batch"] == 8
    with pytest.raises(tfscale.UserError, match="modle is not a key; did you mean model"):
        tfscale.compose("modle=lenet")


def test_a_run_trains_and_is_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: this one has used TensorFlow already, as a notebook may have."""
    with working_in(tmp_path):
        run = tfscale.train("train.epochs=1", "run.name=one")
        assert "test accuracy" in capfd.readouterr().out
        assert run.folder == tmp_path / "runs" / "one" and run.name == "one"
        summary = json.loads((run.folder / "summary.json").read_text())
        assert run.summary == summary and run.summary["steps"] == 45
        assert [each["step"] for each in run.metrics if each["kind"] == "test"] == [45]
        assert run.config["train"]["epochs"] == 1
        assert tfscale.load("latest").folder == run.folder


def test_the_model_takes_raw_examples(folder: Path) -> None:
    from sklearn.datasets import load_digits

    run, digits = tfscale.load("digits", run_dir=str(folder / "runs")), load_digits()
    x = digits.images[..., np.newaxis]
    predicted = run.predict(x)
    assert np.mean(predicted == digits.target) > 0.9
    scores = run.predict(x[:300], scores=True)
    np.testing.assert_array_equal(np.argmax(scores, axis=1), predicted[:300])
    model = run.model()
    np.testing.assert_allclose(model.predict(x[:5], verbose=0), scores[:5], atol=1e-6)  # pyright: ignore[reportArgumentType]


def test_tables_are_predicted_by_column(folder: Path) -> None:
    run = tfscale.load(str(folder / "runs" / "table"))
    assert run.predict({"color": ["red", "blue"], "size": [6, 0]}).tolist() == ["yes", "no"]  # pyright: ignore[reportAttributeAccessIssue]


def test_texts_are_predicted_as_they_are(folder: Path) -> None:
    run = tfscale.load(str(folder / "runs" / "texts"))
    assert set(run.predict(["good", "an unknown word"])) <= {"nice", "rude"}


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no run": (lambda f: tfscale.load("none", run_dir=str(f / "runs")), "run none does not exist"),
    "shape": (
        lambda f: tfscale.load(str(f / "runs/digits")).predict(np.zeros((2, 8, 8))),
        r"must have shape \('n', 8, 8, 1\), got \(2, 8, 8\)",
    ),
    "dtype": (
        lambda f: tfscale.load(str(f / "runs/digits")).predict(np.zeros((2, 8, 8, 1), np.uint8)),
        "must be float32 as the run was trained on, got uint8",
    ),
    "column": (lambda f: tfscale.load(str(f / "runs/table")).predict({"size": [1]}), "must have a column color"),
    "category": (
        lambda f: tfscale.load(str(f / "runs/table")).predict({"size": [1], "color": ["pink"]}),
        "the column color must have categories of the training examples, got 'pink'",
    ),
    "no text": (lambda f: tfscale.load(str(f / "runs/texts")).predict([3]), "must be texts, got int"),
    "texts in a dictionary": (
        lambda f: tfscale.load(str(f / "runs/texts")).predict({"text": ["good"]}),
        "must be a list of texts, got dict",
    ),
    "NaN": (
        lambda f: tfscale.load(str(f / "runs/table")).predict({"size": [1, None], "color": ["red", "red"]}),
        "the outputs of example 1 are not finite",
    ),
    "an array of categories": (
        lambda f: tfscale.load(str(f / "runs/table")).predict(np.zeros((2, 2))),
        "must have a column size, got ndarray",
    ),
    "checkpoint": (
        lambda f: tfscale.load(str(f / "runs/digits")).model("bset"),  # pyright: ignore[reportArgumentType]
        "checkpoint must be newest or best, got bset",
    ),
    "format": (lambda f: tfscale.load(str(f / "runs/digits")).export("pkl", f / "m"), "format must be one of keras"),
    "ending": (
        lambda f: tfscale.load(str(f / "runs/digits")).export("tflite", f / "m.keras"),
        r"to must end in \.tflite",
    ),
    "data": (lambda f: tfscale.train("data=npz", "data.file=/none.npz"), "data.file must be an existing .npz file"),
    "late": (
        lambda f: tfscale.train("data=npz", f"data.file={f}/broken.npz", progress=False),
        "broken.npz",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mistakes_are_exceptions_with_the_messages_of_the_command_line(case: str, folder: Path, tmp_path: Path) -> None:
    call, message = CASES[case]
    (folder / "broken.npz").write_bytes(b"no archive")
    with working_in(tmp_path), pytest.raises(tfscale.UserError, match=message):
        call(folder)


def test_loading_changes_nothing_of_the_caller(folder: Path) -> None:
    """A notebook has a dtype policy and seeds of its own, and threads."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    state = random.getstate()
    try:
        run = tfscale.load(str(folder / "runs" / "digits"))
        assert run.model().layers[-1].dtype_policy.name == "float32"
        with ThreadPoolExecutor(4) as pool:
            images = np.zeros((2, 8, 8, 1), np.float32)
            found = list(pool.map(lambda _: tfscale.load(str(run.folder)).predict(images).tolist(), range(4)))  # pyright: ignore[reportAttributeAccessIssue]
        assert found == [found[0]] * 4
        assert keras.config.dtype_policy().name == "mixed_bfloat16" and random.getstate() == state
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_finished_run_that_is_resumed_is_returned(folder: Path) -> None:
    with working_in(folder):
        assert tfscale.train("resume=true", "run.name=digits", progress=False).name == "digits"


def test_an_evaluation_is_a_dictionary(folder: Path) -> None:
    run = tfscale.load(str(folder / "runs" / "digits"))
    document = run.evaluate("evaluation=[classification]")
    assert document["evaluations"]["classification"]["accuracy"] == pytest.approx(run.summary["accuracy"], abs=1e-6)
    with pytest.raises(tfscale.UserError, match="evaluation must be one of"):
        run.evaluate("evaluation=[nonsense]")


def test_weights_are_exported(folder: Path, tmp_path: Path) -> None:
    path = tfscale.load(str(folder / "runs" / "digits")).export("weights", tmp_path / "w.safetensors")
    assert path.is_file()


SCRIPT = """
import tfscale
run = tfscale.train("train.epochs=1", "strategy=sharing", "launch.np=2")
print(run.summary["processes"], run.name)
"""


@pytest.mark.slow
def test_the_same_lines_run_as_a_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 mlp-digits-sharing-001"
