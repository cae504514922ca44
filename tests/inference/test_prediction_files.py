"""Files of predictions: sealed one by one, complete or not there, and never mixed with others."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import csv, parquet

from tfscale.errors import UserError
from tfscale.inference import prediction_files
from tfscale.inference.prediction_files import MANIFEST, Plan, encoded, read_manifest


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process waits for the shards of others that may not have begun; here there are none."""
    monkeypatch.setattr(prediction_files, "PATIENCE", 0.3)


COLUMNS = {"key": np.asarray(["a", 'b"', "ä"]), "prediction": np.asarray([1, 2, 3]), "score": np.asarray([0.5, 1, 0])}


def plan(place: Path, **changes: object) -> Plan:
    values = {"folder": place / "out", "format": "parquet", "shards": 2, "identity": {"model": "m"}}
    return Plan(**(values | changes))  # pyright: ignore[reportArgumentType]


def write(planned: Plan, *numbers: int) -> None:
    with planned.at_work() as finish:
        for number in numbers:
            planned.write(number, COLUMNS)
        finish()


def test_the_manifest_comes_with_the_last_shard(tmp_path: Path) -> None:
    first = plan(tmp_path)
    write(first, 1)
    assert first.is_sealed(1) and not first.is_sealed(0) and read_manifest(first.folder) is None
    write(first, 0)
    found = read_manifest(first.folder)
    assert found is not None and [each["examples"] for each in found["files"]] == [3, 3]
    assert sorted(path.name for path in first.folder.iterdir()) == [MANIFEST, first.name(0), first.name(1)]


def test_a_shard_that_is_damaged_is_written_again(tmp_path: Path) -> None:
    first = plan(tmp_path)
    write(first, 0)
    (first.folder / first.name(0)).write_bytes(b"half")
    assert not first.is_sealed(0)


def test_a_damaged_file_of_a_complete_prediction_is_named(tmp_path: Path) -> None:
    first = plan(tmp_path)
    write(first, 0, 1)
    (first.folder / first.name(1)).write_bytes(b"half")
    with pytest.raises(UserError, match=f"{first.name(1)} is damaged"):
        read_manifest(first.folder)
    document = json.loads((first.folder / MANIFEST).read_text())
    (first.folder / MANIFEST).write_text(json.dumps({**document, "model": "other"}))
    with pytest.raises(UserError, match="is damaged, or a file that it lists is missing"):
        read_manifest(first.folder)


def test_predictions_of_another_model_are_not_mixed(tmp_path: Path) -> None:
    write(plan(tmp_path), 0)
    with pytest.raises(UserError, match="predictions of other examples or of another model"):
        write(plan(tmp_path, identity={"model": "other"}), 1)


def test_a_folder_with_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"must be a new folder.* got one with mine\.txt"):
        write(plan(tmp_path), 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="to must be a folder"):
        write(plan(tmp_path, folder=tmp_path / "file"), 0)


def test_a_start_that_wrote_nothing_does_not_bind_the_folder(tmp_path: Path) -> None:
    write(plan(tmp_path))
    write(plan(tmp_path, identity={"model": "other"}), 0, 1)
    assert read_manifest(tmp_path / "out") is not None


def test_two_predictions_into_one_folder_are_never_mixed(tmp_path: Path) -> None:
    """The second has claimed the folder before the first has written anything."""
    one, two = plan(tmp_path), plan(tmp_path, identity={"model": "other"})
    with one.at_work() as finish:
        with two.at_work() as _:
            one.write(0, COLUMNS)
            assert one.is_sealed(0) and not two.is_sealed(0)
            two.write(1, COLUMNS)
        assert not one.is_sealed(1)
        one.write(1, COLUMNS)
        finish()
    assert (read_manifest(one.folder) or {})["model"] == "m"


def test_every_format_holds_the_same_columns(tmp_path: Path) -> None:
    for kind in ("parquet", "csv", "jsonl", "npz"):
        (tmp_path / kind).write_bytes(encoded(COLUMNS, kind))
    rows = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    with np.load(tmp_path / "npz") as arrays:
        for name, values in COLUMNS.items():
            wanted = values.tolist()
            assert parquet.read_table(tmp_path / "parquet").column(name).to_pylist() == wanted
            assert csv.read_csv(tmp_path / "csv").column(name).to_pylist() == wanted
            assert [row[name] for row in rows] == wanted
            assert arrays[name].tolist() == wanted


def test_pictures_are_lists_and_no_cells() -> None:
    deep = {"prediction": np.zeros((2, 3, 4), np.int64)}
    assert len(json.loads(encoded(deep, "jsonl").splitlines()[0])["prediction"]) == 3
    with pytest.raises(UserError, match=r"predict\.format=csv must have one value a cell"):
        encoded(deep, "csv")
