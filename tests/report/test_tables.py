"""Tables and pictures of whatever other commands have written into a run directory."""

import os
from pathlib import Path

from tests.support.run_folders import png
from tfscale.report.pictures import pictures_of
from tfscale.report.tables import MOST_ROWS, MOST_TABLES, tables_of


def test_a_document_becomes_tables_by_its_shape() -> None:
    document = {
        "split": "test",
        "loss": 0.123456,
        "classification": {
            "accuracy": 0.9,
            "labels": ["a", "b"],
            "confusion": [[5, 1], [2, 7]],
            "per_class": {"a": {"precision": 0.5, "recall": None}, "b": {"precision": 1.0, "recall": True}},
            "slices": [{"by": "x", "n": 3}, {"by": "y", "more": 4}],
        },
    }
    found = {table.title: (list(table.header), [list(row) for row in table.rows]) for table in tables_of(document)}
    assert found == {
        "": ([], [["split", "test"], ["loss", "0.1235"]]),
        "classification": ([], [["accuracy", "0.9"], ["labels", "a, b"]]),
        "classification › confusion": ([], [["5", "1"], ["2", "7"]]),
        "classification › per_class": (
            ["", "precision", "recall"],
            [["a", "0.5", "none"], ["b", "1", "yes"]],
        ),
        "classification › slices": (["by", "n", "more"], [["x", "3", "none"], ["y", "none", "4"]]),
    }


def test_huge_and_deep_documents_are_cut() -> None:
    deep: dict[str, object] = {"x": 1}
    for _ in range(500):
        deep = {"x": deep, "y": 1}
    assert len(tables_of(deep)) < 20
    assert len(tables_of({str(n): {"a": {"b": n}} for n in range(1000)})) <= MOST_TABLES
    (table,) = tables_of({"x": [[1.0] * 500] * 5000})
    assert len(table.rows) == MOST_ROWS and len(table.rows[0]) < 100
    ((_, text),) = tables_of({"x": list(range(1000))})[0].rows
    assert text.endswith("… (1,000 in all)")
    assert tables_of({}) == []


def test_pictures_are_embedded_within_the_budget_and_evaluations_first(tmp_path: Path) -> None:
    for name in ("curves.png", "strategy.png", "roc.png"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "false.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    found = pictures_of(tmp_path, 300)
    shown = [(each.name, each.uri is not None, each.is_plot) for each in found]
    assert shown == [
        ("false.png", False, False),
        ("folder.png", False, False),
        ("pipe.png", False, False),
        ("roc.png", True, False),
        ("curves.png", True, True),
        ("strategy.png", False, True),  # nothing is left of the budget
    ]
