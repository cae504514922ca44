"""Texts: every one arrives once, in the ids of the training vocabulary; what is no text is named or counted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.support.batches import examples, same, steps
from tests.support.in_place import run
from tests.support.texts import write_texts
from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.sources import text as texts
from tfscale.errors import UserError
from tfscale.job.build import Job

COUNTS = {"good": 12, "bad": 11}


def read(**changes: object) -> Arrays:
    values = {
        **dict.fromkeys(("folder", "file", "validation_file", "test_file")),
        "text": "text",
        "label": "label",
        "tokens": "words",
        "vocabulary": 1000,
        "length": 12,
        "on_error": "error",
        **{key: str(value) if isinstance(value, Path) else value for key, value in changes.items()},
    }
    texts.check(**values)
    return texts.text(**values)


def words(arrays: Arrays, row: np.ndarray) -> list[str]:
    assert arrays.columns is not None
    return [arrays.columns[index] for index in row if index]


def table(folder: Path, *rows: str, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(b"\n".join(row.encode("latin-1") for row in ("text,label", *rows)) + b"\n")
    return folder / name


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_text_once_with_its_class(tmp_path: Path, size: int) -> None:
    kinds = write_texts(tmp_path, COUNTS)
    arrays = read(folder=tmp_path)
    data = IndexedData(source_of(arrays))
    assert data.spec.y.names == ("bad", "good")  # pyright: ignore
    taken = examples(steps(data, size, batch=2, count=-(-len(kinds) // (2 * size))))
    assert len(taken) == len(kinds)
    assert {words(arrays, x)[-1]: ("bad", "good")[y] for x, y in taken} == kinds


def test_any_step_can_be_the_first_and_the_digest_is_one(tmp_path: Path) -> None:
    write_texts(tmp_path, COUNTS)
    data, again = (IndexedData(source_of(read(folder=tmp_path))) for _ in range(2))
    assert data.digest == again.digest != source_of(read(folder=tmp_path, vocabulary=20)).digest
    whole = steps(data, 3, batch=2, count=12)
    for start in (1, 3, 7):
        assert same(steps(again, 3, batch=2, count=12 - start, start=start), whole[start:])


def test_other_words_with_the_same_ids_are_another_digest(tmp_path: Path) -> None:
    one = source_of(read(file=table(tmp_path, "a b,x", "a c,y"))).digest
    assert source_of(read(file=table(tmp_path, "a b,x", "a d,y"))).digest != one


def test_words_are_in_lower_case_and_rows_are_filled_up_in_front(tmp_path: Path) -> None:
    arrays = read(file=table(tmp_path, '"The cat, the CAT!",x', "a b c d e f,y"), length=5)
    assert arrays.x_train.tolist()[0][0] == 0
    assert words(arrays, arrays.x_train[0]) == ["the", "cat", "the", "cat"]
    assert words(arrays, arrays.x_train[1]) == ["a", "b", "c", "d", "e"], "a long text is cut to its beginning"
    assert arrays.columns is not None
    assert arrays.columns[:2] == ("", "[UNK]")
    assert set(arrays.columns[2:4]) == {"the", "cat"}, "the most frequent words come first"


def test_characters_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nAb é,1\nb!,0\n")
    arrays = read(file=tmp_path / "t.csv", tokens="characters", length=4)
    assert words(arrays, arrays.x_train[0]) == ["A", "b", " ", "é"]


def test_the_vocabulary_is_of_the_training_texts_alone_and_has_a_limit(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_texts(tmp_path / part, COUNTS)
    (tmp_path / "test" / "bad" / "new.txt").write_text("unheard words")
    arrays = read(folder=tmp_path)
    assert arrays.x_validation is not None
    assert arrays.x_test is not None
    assert (len(arrays.x_validation), len(arrays.x_test)) == (23, 24)
    assert arrays.columns is not None
    assert "unheard" not in arrays.columns
    assert [1, 1] in arrays.x_test[:, -2:].tolist(), "words of the test alone are outside the vocabulary"
    few = read(folder=tmp_path, vocabulary=7)
    assert few.vocabulary == len(few.columns or ()) == 7
    assert few.x_train.max() == 6


def test_labels_of_a_table_are_classes_or_measurements(tmp_path: Path) -> None:
    numbers = source_of(read(file=table(tmp_path, "a b,1.5", "c,-2.25"))).spec.y
    assert (numbers.categories, numbers.dtype) == (None, "float64")  # pyright: ignore
    classes = source_of(read(file=table(tmp_path, "a b,1", "c,0"))).spec.y
    assert classes.categories == 2  # pyright: ignore
    parquet.write_table(pa.table({"text": ["a b", "c"], "label": ["x", "y"]}), tmp_path / "t.parquet")
    test = table(tmp_path, "a,x", name="test.csv")
    both = read(file=tmp_path / "t.parquet", test_file=test)
    assert both.y_train is not None
    assert (both.y_train.tolist(), len(both.x_test)) == (["x", "y"], 1)  # pyright: ignore


@pytest.mark.parametrize("place", ["folder", "file"])
def test_texts_without_labels_are_windows_one_token_apart(tmp_path: Path, place: str) -> None:
    kinds = write_texts(tmp_path, COUNTS)
    rows = [path.read_text().replace(",", "") for path in sorted(tmp_path.rglob("*.txt"))]
    source = {"folder": tmp_path} if place == "folder" else {"file": table(tmp_path, *(f"{row},0" for row in rows))}
    arrays = read(**source, label=None, length=5)
    assert isinstance(arrays.y_train, np.ndarray)
    joined = " ".join(rows).lower().replace(".", "").split()
    assert sum(word in kinds for word in joined) == 23
    count = (len(joined) - 1) // 5
    assert words(arrays, arrays.x_train.ravel()) == joined[: 5 * count]
    assert words(arrays, arrays.y_train.ravel()) == joined[1 : 5 * count + 1]
    with pytest.raises(UserError, match=r"data.length must be below the number of training tokens \(\d+\), got 10000"):
        read(**source, label=None, length=10000)


def test_files_that_are_not_utf8_or_have_no_tokens_are_named_or_counted(tmp_path: Path) -> None:
    write_texts(tmp_path, COUNTS)
    (tmp_path / "bad" / "x.txt").write_bytes(b"one\ntw\xe9\n")
    with pytest.raises(UserError, match=r"line 2 of .*bad/x.txt must be UTF-8; .* data.on_error=skip"):
        read(folder=tmp_path)
    (tmp_path / "good" / "y.txt").write_bytes(b"...\n")
    arrays = read(folder=tmp_path, on_error="skip")
    assert (arrays.skipped, len(arrays.x_train), len(arrays.y_train)) == (2, 23, 23)  # pyright: ignore
    (tmp_path / "bad" / "x.txt").unlink()
    with pytest.raises(UserError, match=r"good/y.txt has no tokens; leave it out, or type data.on_error=skip"):
        read(folder=tmp_path)


def test_rows_that_are_not_utf8_or_lack_something_are_named_or_counted(tmp_path: Path) -> None:
    file = table(tmp_path, "one two,a", "tw\xe9,b", "three,\xe9", "four,", ",a", "five,b", "a,b,c")
    with pytest.raises(UserError, match=r"line 3 of .*t.csv must be UTF-8"):
        read(file=file)
    arrays = read(file=file, on_error="skip")
    assert arrays.y_train is not None
    assert (arrays.skipped, arrays.y_train.tolist()) == (5, ["a", "b"])
    assert [words(arrays, row) for row in arrays.x_train] == [["one", "two"], ["five"]]
    with pytest.raises(UserError, match=r"line 3 of .*t.csv has no tokens"):
        read(file=table(tmp_path, "one,a", ",b"))


def test_two_hundred_damaged_texts_are_named_or_counted(tmp_path: Path) -> None:
    """A byte is changed at random: the text is refused by its name, counted, or still there."""
    write_texts(tmp_path, {"good": 3, "bad": 3})
    path, random = tmp_path / "good" / "0000.txt", np.random.default_rng(0)
    whole, refused = path.read_bytes(), 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[int(random.integers(len(whole)))] = int(random.integers(256))
        path.write_bytes(bytes(damaged))
        skipped = read(folder=tmp_path, on_error="skip", tokens="characters").skipped
        refused += skipped
        if skipped:
            with pytest.raises(UserError, match=r"line 1 of .*0000.txt must be UTF-8"):
                read(folder=tmp_path)
    assert 60 < refused < 140


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"data must have either data.folder, .* or data.file, .* got neither"),
        ({"folder": "a", "file": "b"}, "got both"),
        ({"folder": "none"}, "data.folder must be an existing folder, got none"),
        ({"folder": "HERE"}, r"must have a folder of .txt files for each of at least 2 classes, got 0; sort the texts"),
        ({"folder": "HERE", "label": None}, r"must have .txt files, got none; check data.folder"),
        ({"folder": "HERE", "test_file": "t.csv"}, "data.test_file must be null for a folder"),
        ({"file": "HERE/t.csv", "text": "words"}, r"data.text must name a column of data.file=.*\(text, label\), got"),
        ({"file": "HERE/t.csv", "label": "kind"}, r"got kind; correct the name, or type data.label=null"),
        ({"file": "HERE/t.csv", "text": "label", "label": None}, r"data.text must be a column of text, got label of i"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    table(tmp_path, "a,1", "b,0")
    placed = {k: v.replace("HERE", str(tmp_path)) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(UserError, match=message):
        read(**placed)


@pytest.mark.parametrize("model", ["gru", pytest.param("transformer", marks=pytest.mark.slow)])
def test_a_shipped_model_learns_to_tell_two_classes(build_job: Callable[..., Job], tmp_path: Path, model: str) -> None:
    for part, count in (("train", 200), ("test", 60)):
        write_texts(tmp_path / part, {"good": count, "bad": count})
    job = build_job(
        *("data=text", f"data.folder={tmp_path}", "data.length=12", f"model={model}", "model.width=16"),
        *("optimizer=adam", "optimizer.learning_rate=0.01", "train.batch=20", "strategy.replicas=2"),
        *(("model.units=16",) if model == "gru" else ("model.blocks=1",)),
    )
    run(job, 40)
    assert job.evaluator(job.state.consensus(), Split.TEST)["accuracy"] > 0.9, "chance is 0.5"


@pytest.mark.parametrize("model", [pytest.param("gru", marks=pytest.mark.slow), "transformer"])
def test_a_shipped_model_learns_the_next_token(build_job: Callable[..., Job], tmp_path: Path, model: str) -> None:
    (tmp_path / "a.txt").write_text("the quick brown fox jumps over a lazy dog " * 60)
    job = build_job(
        *("data=text", f"data.folder={tmp_path}", "data.label=null", "data.length=8", "data.validation=0.2"),
        *(f"model={model}", "model.width=16", "optimizer=adam", "optimizer.learning_rate=0.01", "train.batch=8"),
        *(("model.units=16",) if model == "gru" else ("model.blocks=1",)),
    )
    assert job.task.name == "next_token"
    run(job, 60)
    assert job.evaluator(job.state.consensus(), Split.VALIDATION)["accuracy"] > 0.9, "chance is 1 in 9"
