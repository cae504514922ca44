"""Tables: every row arrives once and as it is; what does not fit is named with its column and line."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays
from tfscale.data.sources import table as tables
from tfscale.errors import UserError

ROWS = ["age,town,price,kind", "31,Ulm,1.5,a", "47,Bern,2.25,b", "52,Ulm,-3,a", "18,Rom,4e2,c"]


def write(folder: Path, *lines: str, name: str = "t.csv") -> str:
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def read(file: str, **changes: object) -> Arrays:
    values = {
        **dict.fromkeys(("label", "features", "weight", "validation_file", "test_file")),
        "categorical": [],
        "on_error": "error",
        **changes,
    }
    tables.check(file=file, **values)  # pyright: ignore[reportArgumentType]
    return tables.table(file=file, **values)  # pyright: ignore[reportArgumentType]


def test_columns_of_numbers_stay_and_columns_of_text_become_categories(tmp_path: Path) -> None:
    arrays = read(write(tmp_path, *ROWS), label="kind")
    assert arrays.columns == ("age", "town=Bern", "town=Rom", "town=Ulm", "price")
    np.testing.assert_array_equal(
        arrays.x_train, [[31, 0, 0, 1, 1.5], [47, 1, 0, 0, 2.25], [52, 0, 0, 1, -3], [18, 0, 1, 0, 400]]
    )
    assert arrays.y_train is not None
    assert arrays.y_train.tolist() == ["a", "b", "a", "c"]


def test_csv_tsv_gzip_and_parquet_give_the_same(tmp_path: Path) -> None:
    import gzip

    wanted = source_of(read(write(tmp_path, *ROWS), label="price")).digest
    tabs = write(tmp_path, *(row.replace(",", "\t") for row in ROWS), name="t.tsv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    from pyarrow import csv

    parquet.write_table(csv.read_csv(tmp_path / "t.csv"), tmp_path / "t.parquet")
    for file in (tabs, str(tmp_path / "t.csv.gz"), str(tmp_path / "t.parquet")):
        assert source_of(read(file, label="price")).digest == wanted


def test_features_categories_weights_and_files_can_be_chosen(tmp_path: Path) -> None:
    file, test = write(tmp_path, *ROWS), write(tmp_path, ROWS[0], "40,Ulm,7,b", name="test.csv")
    arrays = read(file, label="kind", features=["town"], weight="age", test_file=test)
    np.testing.assert_array_equal(arrays.weight, [31, 47, 52, 18])
    np.testing.assert_array_equal(arrays.x_test, [[0, 0, 1]])
    numbered = read(file, label="kind", features=["age"], categorical=["age"])
    assert numbered.columns == ("age=18", "age=31", "age=47", "age=52")


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["age", "price"], "dict"), (["price"], "array"), (["yes", "no"], "array"), (["low", "high"], "array")],
)
def test_several_labels_are_a_matrix_if_they_are_of_one_kind(tmp_path: Path, labels: list[str], kind: str) -> None:
    rows = ["age,price,yes,no,low,high,x", "31,1.5,0,1,0.5,1.5,9", "47,2.25,1,1,2.5,3.5,8", "20,2.5,0,0,4.5,5.5,7"]
    y = read(write(tmp_path, *rows), label=labels).y_train
    assert type(y) is (dict if kind == "dict" else np.ndarray)
    if isinstance(y, np.ndarray):
        assert y.shape == ((3, 2) if len(labels) == 2 else (3,))
    else:
        assert {name: part.dtype.kind for name, part in y.items()} == {"age": "i", "price": "f"}


def test_large_whole_numbers_are_not_rounded(tmp_path: Path) -> None:
    arrays = read(write(tmp_path, "id,y", f"{2**40 + 1},0", f"{2**40 + 2},1"), label="y")
    assert arrays.x_train[:, 0].tolist() == [2**40 + 1, 2**40 + 2]


def test_an_empty_cell_is_missing_and_named(tmp_path: Path) -> None:
    arrays = read(write(tmp_path, "age,town,y", "31,Ulm,0", ",Bern,1", "20,,1"), label="y")
    assert arrays.columns == ("age", "town=(missing)", "town=Bern", "town=Ulm")
    with pytest.raises(UserError, match=r"got nan in line 3 of .*t.csv, column age; .* data.missing=mean"):
        source_of(arrays)
    assert source_of(arrays, missing="mean").spec.x.names == arrays.columns  # pyright: ignore


def test_lines_that_cannot_be_read_are_named_or_counted(tmp_path: Path) -> None:
    file = write(tmp_path, *ROWS, "1,2", "44,Rom,2,b", "1,2,3,4,5")
    with pytest.raises(UserError, match=r"line 6 of .*t.csv must have 4 cells, got 2; correct it, or type data.on_er"):
        read(file, label="kind")
    arrays = read(file, label="kind", on_error="skip")
    assert (arrays.skipped, len(arrays.x_train)) == (2, 5)


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (ROWS, {"label": "cost"}, r"data.label must name columns of .* \(age, town, price, kind\), got cost"),
        (ROWS, {"label": "kind", "features": ["kind"]}, "data.features must not have the label kind"),
        (ROWS, {"label": "kind", "weight": "w"}, "data.weight must name columns"),
        (["a,a", "1,2"], {}, "must have columns of different names, got a more than once"),
        (["a,b"], {}, "must have at least one row, got none"),
        (["a,b", "1,", "2,x"], {"label": "b"}, r"label b is empty in line 2 of"),
        (
            ["a,b", "1,2", "x,3", "4,5", "6,7"],
            {"label": "b"},
            r"column a must be numbers .*, got 'x' in line 3 .*categor",
        ),
        (["a,b", "2020-01-01,2"], {"label": "b"}, r"column a must be numbers or text, got date32.*data.features"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, rows: list[str], changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, *rows), **changes)


def test_a_category_that_only_the_test_has_is_named(tmp_path: Path) -> None:
    test = write(tmp_path, ROWS[0], "40,Paris,7,b", name="test.csv")
    with pytest.raises(UserError, match=r"column town has 'Paris' in line 2 of .*test.csv, which no line of the train"):
        read(write(tmp_path, *ROWS), label="kind", test_file=test)


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.file must end in .csv, .*, got x.txt; convert it"):
        read("x.txt")
    with pytest.raises(UserError, match=r"data.file must be an existing file, got x.csv"):
        read("x.csv")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"x.parquet cannot be read .*; write it again"):
        read(str(tmp_path / "x.parquet"))
    parquet.write_table(pa.table({"a": [1, 2], "when": [None, None]}), tmp_path / "y.parquet")
    with pytest.raises(UserError, match=r"column when must be numbers or text, got null"):
        read(str(tmp_path / "y.parquet"), label="a")


def test_two_hundred_damaged_tables_are_named_or_read(tmp_path: Path) -> None:
    """A byte is changed at random: the table is refused by name, or every row is there."""
    random = np.random.default_rng(0)
    whole = "\n".join([ROWS[0], *(f"{n},Ulm,{n / 4},{'ab'[n % 2]}" for n in range(50))]).encode() + b"\n"
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[int(random.integers(len(whole)))] = int(random.integers(256))
        (tmp_path / "d.csv").write_bytes(bytes(damaged))
        try:
            arrays = read(str(tmp_path / "d.csv"), label="kind")
            source_of(arrays)
        except UserError as error:
            refused += 1
            assert "d.csv" in str(error) or "column" in str(error) or "label" in str(error), error
        else:
            assert len(arrays.x_train) in (49, 50, 51)
    assert 20 < refused < 180
