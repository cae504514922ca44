"""The id by which trackers find a run."""

from pathlib import Path

from tfscale.runs.run_id import FILE, run_id


def test_a_run_keeps_its_id_and_no_other_has_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    ids = [run_id(tmp_path / name) for name in ("one", "one", "two")]
    assert ids[0] == ids[1] != ids[2]
    assert [path.name for path in (tmp_path / "one").iterdir()] == [FILE]


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    assert run_id(tmp_path) == run_id(tmp_path) != ""
