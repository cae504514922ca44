"""`tfscale predict`: from a table to files, with real processes that are killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.forked_commands import ROOT, forked
from tfscale import cli

ROWS = "".join(f"{n},{n % 7 - 3},{'red' if n % 3 else 'blue'},{'yes' if n % 7 > 3 else 'no'}\n" for n in range(60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on a table, trained once."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "train.csv").write_text("id,size,color,big\n" + ROWS)
    words = ("data=table", "data.file=train.csv", "data.label=big", "data.features=[size,color]", "data.test=0.2")
    done = forked().completed(["train", *words, "run.name=r", "train.epochs=5"], folder, os.environ)
    assert done.returncode == 0, done.stderr
    return folder


def predict(folder: Path, *words: str) -> str:
    done = forked().completed(["predict", "r", *words], folder, os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(folder: Path) -> pa.Table:
    """Returns all predictions in the order of the files."""
    return pa.concat_tables([parquet.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def test_new_rows_get_keys_classes_scores_and_losses(folder: Path) -> None:
    (folder / "new.csv").write_text("key,color,big,size\nk1,red,yes,3\nk2,blue,no,-3\n")
    words = ("data.file=new.csv", "predict.keys=key", "predict.scores=true", "predict.loss=true", "predict.format=csv")
    printed = predict(folder, "to=scored", *words)
    assert "scored: 2 predictions of all examples in 1 csv file(s), keys key" in printed
    with (folder / "scored" / "predictions-00000-of-00001.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["key"], row["prediction"]) for row in rows] == [("k1", "yes"), ("k2", "no")]
    for row, label in zip(rows, ("yes", "no"), strict=True):
        assert float(row["score_no"]) + float(row["score_yes"]) == pytest.approx(1)
        assert float(row["loss"]) == pytest.approx(-np.log(float(row[f"score_{label}"])), rel=1e-5)


def test_rows_need_no_label_to_be_predicted(folder: Path) -> None:
    (folder / "bare.csv").write_text("size,color\n3,red\n")
    predict(folder, "data.file=bare.csv", "to=bare")
    assert table(folder / "bare").to_pydict() == {"index": [0], "prediction": ["yes"]}


def test_a_file_that_is_named_is_predicted_as_a_whole(folder: Path) -> None:
    """Also that of the training data, of which the run knows a test split."""
    assert "60 predictions of all examples" in predict(folder, "to=whole", "data.file=train.csv")


def test_other_keys_are_another_prediction(folder: Path) -> None:
    (folder / "keys.csv").write_text("key,size,color\na,1,red\n")
    predict(folder, "data.file=keys.csv", "to=keyed", "predict.keys=key")
    (folder / "keys.csv").write_text("key,size,color\nb,1,red\n")
    words = ["predict", "r", "data.file=keys.csv", "to=keyed", "predict.keys=key"]
    done = forked().completed(words, folder, os.environ)
    assert done.returncode == 2 and "holds predictions of other examples" in done.stderr


def test_data_that_have_changed_must_be_named(folder: Path, tmp_path: Path) -> None:
    """A row more, and training examples would have been evaluated as if they were others."""
    (tmp_path / "t.csv").write_text("size,color,big\n" + "1,red,no\n5,blue,yes\n" * 10)
    words = ("train", "data=table", "data.file=t.csv", "data.label=big", "data.test=0.2", "train.steps=2", "run.name=r")
    assert forked().completed(words, tmp_path, os.environ).returncode == 0
    with (tmp_path / "t.csv").open("a") as stream:
        stream.write("2,red,no\n")
    for command in (["evaluate", "r"], ["predict", "r", "to=out"]):
        done = forked().completed(command, tmp_path, os.environ)
        assert done.returncode == 2 and "so its splits are unknown; name the data" in done.stderr
    assert "21 predictions of all examples" in predict(tmp_path, "to=out", "data.file=t.csv")


def test_the_test_examples_of_the_run_are_the_default(folder: Path) -> None:
    assert "12 predictions of test examples" in predict(folder, "to=own")
    assert "48 predictions of training examples" in predict(folder, "to=training", "predict.split=training")


def test_a_repeated_command_keeps_what_is_there(folder: Path) -> None:
    predict(folder, "to=twice")
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "twice").iterdir()}
    predict(folder, "to=twice")
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "twice").iterdir()}
    assert after == before and len(after) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("r",), "predict must have a folder for its files; type to=DIR"),
        (("r", "to=x", "predict.format=xml"), "predict.format must be one of parquet, csv, jsonl, npz, got xml"),
        (("r", "to=x", "predict.split=all"), "predict.split must be one of training, validation, test, got all"),
        (("r", "to=x", "predict.scores=1"), "predict.scores must be true or false, got 1"),
        (("r", "to=x", "launch.np=0"), "launch.np must be a whole number from 1 to 1e9, got 0"),
        (
            ("r", "to=x", "data.normalize=none"),
            "data.normalize cannot change in an earlier run: the run has learned it",
        ),
        (("r", "to=x", "data.file=none.csv"), "data.file must be an existing file, got none.csv"),
        (("to=x",), "predict must have the name of a run"),
    ],
)
def test_wrong_input_is_one_message(
    words: Sequence[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert cli.main(["predict", *words]) == 2
    errors = capsys.readouterr().err
    assert message in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        ("size,color\n1,pink\n", (), "column color has 'pink' in line 2"),
        ("k,size,color\na,1,red\na,2,red\n", ("predict.keys=k",), "predict.keys=k must be unique, got a in line 2"),
        ("k,size,color\n,1,red\nb,2,red\n", ("predict.keys=k",), "is empty in line 2"),
        ("size,color\n1,red\n", ("predict.keys=k",), "must have a column k, got size, color"),
        ("prediction,size,color\n1,1,red\n", ("predict.keys=prediction",), "must have another name than prediction"),
    ],
)
def test_examples_that_cannot_be_predicted_are_named(
    content: str, words: Sequence[str], message: str, folder: Path
) -> None:
    (folder / "wrong.csv").write_text(content)
    done = forked().completed(["predict", "r", "data.file=wrong.csv", "to=wrong", *words], folder, os.environ)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not list((folder / "wrong").glob("*.parquet"))


@pytest.mark.slow
def test_a_prediction_that_is_killed_twice_is_that_of_one_process(folder: Path) -> None:
    """100,000 rows, three processes, kill -9 twice: every key once, and the same bits."""
    random = np.random.default_rng(0)
    count = 100_000
    columns = {
        "key": random.permutation(count),
        "size": random.standard_normal(count) * 5,
        "color": random.choice(["red", "blue"], count),
    }
    parquet.write_table(pa.table(columns), folder / "many.parquet")
    words = ["data.file=many.parquet", "predict.keys=key", "predict.scores=true"]
    predict(folder, "to=one", *words)
    for _ in range(2):
        _kill_after_a_file(folder, [*words, "to=three", "launch.np=3"])
    sealed = {path.name: path.stat().st_mtime_ns for path in (folder / "three").glob("*.parquet")}
    assert 2 <= len(sealed) < 13
    predict(folder, "to=three", "launch.np=3", *words)
    whole, alone = table(folder / "three"), table(folder / "one")
    assert sorted(whole.column("key").to_pylist()) == list(range(count))
    assert whole.equals(alone)
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "three").glob("*.parquet")}
    assert any(kept[name] == when for name, when in sealed.items()), "what was sealed is kept"


def _kill_after_a_file(folder: Path, words: Sequence[str]) -> None:
    """Starts the command, and kills its processes with SIGKILL once there is one more file."""
    before = len(list((folder / "three").glob("*.parquet")))
    command = [sys.executable, "-m", "tfscale", "predict", "r", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list((folder / "three").glob("*.parquet"))) <= before:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    import psutil

    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in family:
        each.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=20)


@pytest.mark.slow
def test_a_million_rows_need_bounded_memory(folder: Path) -> None:
    """The table is in memory once, 8 bytes a cell; predictions are written shard by shard."""
    count = 1_000_000
    random = np.random.default_rng(0)
    for name, rows in (("few", 1000), ("million", count)):
        columns = {"size": random.standard_normal(rows), "color": random.choice(["red", "blue"], rows)}
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
    used = {}
    for name in ("few", "million"):
        code = (
            "import resource, sys; from tfscale import cli; "
            f"code = cli.main(['predict', 'r', 'data.file={name}.parquet', 'to={name}']); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        used[name] = int(done.stdout.splitlines()[-1]) / 1024
    assert json.loads((folder / "million" / "manifest.json").read_text())["examples"] == count
    assert used["million"] - used["few"] < 800, used  # MiB: strings of a column as Python objects are most of it
