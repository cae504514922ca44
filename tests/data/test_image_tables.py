"""Images that a table names: every row arrives once with its label; a row without an image or a label is named."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from pyarrow import csv, parquet

from tests.support.batches import examples, same, steps
from tests.support.in_place import run
from tests.support.pictures import read_images, write_classes
from tfscale.data.base import Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.splits import Held, hold_out
from tfscale.errors import UserError
from tfscale.job.build import Job

KINDS = ("eel", "cat", "dog")


def rows(folder: Path, count: int = 20) -> list[str]:
    """Writes images of one colour each; returns a row for each: its path and a class that its folder does not say."""
    colours = write_classes(folder / "photos", {"a": count // 2, "b": count - count // 2})
    return [f"{Path(path).relative_to(folder / 'photos')},{KINDS[n % 3]}" for path, n in colours.items()]


def table(folder: Path, *lines: str, name: str = "t.csv", header: str = "path,label") -> Path:
    (folder / name).write_text("\n".join([header, *lines]) + "\n")
    return folder / name


def read(folder: Path, file: Path, **changes: object) -> Source:
    return read_images(folder=folder / "photos", table=file, **changes)


def colour(x: np.ndarray) -> int:
    return round(float(x.max()) * 255)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_row_once_with_its_label(tmp_path: Path, size: int) -> None:
    source = read(tmp_path, table(tmp_path, *rows(tmp_path)))
    assert source.spec.y.names == ("cat", "dog", "eel")  # pyright: ignore
    taken = examples(steps(IndexedData(source), size, batch=2, count=-(-20 // (2 * size))))
    assert len(taken) == 20
    assert {colour(x): ("cat", "dog", "eel")[y] for x, y in taken} == {n: KINDS[n % 3] for n in range(20)}


def test_any_step_can_be_the_first(tmp_path: Path) -> None:
    file = table(tmp_path, *rows(tmp_path))
    whole, again = (IndexedData(read(tmp_path, file)) for _ in range(2))
    assert same(steps(again, 2, batch=3, count=3, start=2), steps(whole, 2, batch=3, count=5)[2:])


def test_paths_begin_in_the_folder_of_the_table_or_are_absolute(tmp_path: Path) -> None:
    lines = rows(tmp_path, 4)
    beside = table(tmp_path / "photos", *lines)
    assert len(read_images(table=beside).examples[Split.TRAIN]) == 4
    absolute = table(tmp_path, *(f"{tmp_path}/photos/{line}" for line in lines))
    assert len(read_images(table=absolute).examples[Split.TRAIN]) == 4


@pytest.mark.parametrize("ending", ["csv.gz", "tsv", "parquet"])
def test_other_formats_give_the_same(tmp_path: Path, ending: str) -> None:
    lines = rows(tmp_path)
    file, other = table(tmp_path, *lines), tmp_path / f"other.{ending}"
    if ending == "parquet":
        parquet.write_table(csv.read_csv(file), other)
    elif ending == "tsv":
        other.write_text(file.read_text().replace(",", "\t"))
    else:
        other.write_bytes(gzip.compress(file.read_bytes()))
    assert read(tmp_path, other).digest == read(tmp_path, file).digest


def test_tables_of_splits_are_splits_and_others_are_held_out(tmp_path: Path) -> None:
    lines = rows(tmp_path)
    file = table(tmp_path, *lines[:12])
    validation = table(tmp_path, *lines[12:17], name="v.csv")
    test = table(tmp_path, *lines[17:], name="e.csv")
    source = read(tmp_path, file, validation_table=validation, test_table=test)
    assert {split.value: len(each) for split, each in source.examples.items()} == {
        "training": 12,
        "validation": 5,
        "test": 3,
    }
    held = hold_out(read(tmp_path, table(tmp_path, *lines)), Held(validation=0.2, test=None, stratify=True, seed=0))
    assert len(held.examples[Split.VALIDATION]) == 4
    with pytest.raises(UserError, match=r"y \(test\) has the class 'fox', which no training example has"):
        read(tmp_path, file, test_table=table(tmp_path, f"{lines[0].split(',')[0]},fox", name="e.csv"))


def test_labels_are_classes_measurements_or_none(tmp_path: Path) -> None:
    paths = [line.split(",")[0] for line in rows(tmp_path)]
    numbers = table(tmp_path, *(f"{path},{n / 4}" for n, path in enumerate(paths)))
    measured = read(tmp_path, numbers)
    assert (measured.spec.y.dtype, measured.spec.y.categories) == ("float64", None)  # pyright: ignore
    _, y, _ = measured.examples[Split.TRAIN].read(tf.constant([3, 0], tf.int64))
    assert y.numpy().tolist() == [0.75, 0.0]
    classes = read(tmp_path, table(tmp_path, *(f"{path},{n % 4}" for n, path in enumerate(paths))))
    assert (classes.spec.y.dtype, classes.spec.y.categories) == ("int64", 4)  # pyright: ignore
    assert read(tmp_path, numbers, label=None).spec.y is None
    assert read_images(folder=tmp_path / "photos", label=None).spec.y is None


def test_the_digest_knows_rows_labels_and_files(tmp_path: Path) -> None:
    lines = rows(tmp_path)
    before = read(tmp_path, table(tmp_path, *lines)).digest
    assert read(tmp_path, table(tmp_path, *lines)).digest == before
    assert read(tmp_path, table(tmp_path, *lines[1:], lines[0])).digest != before
    assert read(tmp_path, table(tmp_path, lines[0].replace("eel", "cat"), *lines[1:])).digest != before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("a/none.png,cat", r"line 4 of .*t.csv names .*photos/a/none.png, which is no file; correct the path, or type"),
        ("a,cat", r"line 4 of .*t.csv names .*photos/a, which is no file"),
        (",cat", r"line 4 of .*t.csv has no path; give it one, or type data.on_error=skip"),
        ("a/000.png,", r"label label is empty in line 4 of .*t.csv"),
        ("a/000.png,cat,dog", r"line 4 of .*t.csv must have 2 cells, got 3"),
    ],
)
def test_a_row_without_an_image_or_a_label_is_named_or_left_out(tmp_path: Path, wrong: str, message: str) -> None:
    lines = rows(tmp_path)
    file = table(tmp_path, *lines[:2], wrong, *lines[2:])
    with pytest.raises(UserError, match=message):
        read(tmp_path, file)
    source = read(tmp_path, file, on_error="skip")
    assert (source.skipped, len(source.examples[Split.TRAIN])) == (1, 20)


def test_a_file_that_is_no_image_is_named_with_its_line_or_left_out(tmp_path: Path) -> None:
    file = table(tmp_path, *rows(tmp_path))
    bad = tmp_path / "photos" / "a" / "003.png"
    bad.write_bytes(b"hello")
    with pytest.raises(UserError, match=re.escape(f"data: {bad} (line 5 of {file}) cannot be read: ")):
        steps(IndexedData(read(tmp_path, file)), 1, batch=20, count=1)
    skipped = read(tmp_path, file, on_error="skip")
    assert (skipped.skipped, len(skipped.examples[Split.TRAIN])) == (1, 19)
    assert skipped.examples[Split.TRAIN].name(3) == f"{tmp_path}/photos/a/004.png (line 6 of {file})"


def test_an_empty_number_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    paths = [line.split(",")[0] for line in rows(tmp_path)]
    file = table(tmp_path, *(f"{path},{n / 4}" for n, path in enumerate(paths)))
    numbers = csv.read_csv(file)
    values = numbers.column("label").to_numpy().copy()
    values[6] = np.nan
    parquet.write_table(numbers.set_column(1, "label", [values]), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"label label is empty in row 7 of .*t.parquet"):
        read(tmp_path, tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "file"}, r"data.path must name a column of data.table=.*t.csv \(path, label\), got file"),
        ({"label": "kind"}, r"data.label must name a column of data.table=.*, got kind; .* type data.label=null"),
        ({"test_table": "none.csv"}, r"data.test_table must be an existing file, got none.csv"),
        ({"folder": "none"}, r"data.folder must be an existing folder, got none"),
        ({"path": "label", "label": "path"}, r"line 2 of .* names .*photos/eel, which is no file"),
        ({"path": "label", "on_error": "skip"}, r"must have rows with an image and a label, got none"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    file = table(tmp_path, *rows(tmp_path, 4))
    with pytest.raises(UserError, match=message):
        read_images(**{"table": file, "folder": tmp_path / "photos", **changes})


def test_paths_must_be_text(tmp_path: Path) -> None:
    rows(tmp_path, 4)
    with pytest.raises(UserError, match=r"data.path must be a column of text, got path of int64; choose another"):
        read(tmp_path, table(tmp_path, "1,a", "2,b"))


def test_a_model_learns_measurements_of_images(tmp_path: Path, build_job: Callable[..., Job]) -> None:
    paths = [line.split(",")[0] for line in rows(tmp_path)]
    file = table(tmp_path, *(f"{path},{n / 4}" for n, path in enumerate(paths)), header="file,shade")
    words = [f"data.table={file}", f"data.folder={tmp_path}/photos", "data.path=file", "data.label=shade"]
    job = build_job("data=images", *words, "data.validation=0.2", "model=mlp", "strategy=local")
    assert job.task.name == "regression"
    assert job.data.sizes == {Split.TRAIN: 16, Split.VALIDATION: 4}
    assert run(job, 3).state.step == 3
