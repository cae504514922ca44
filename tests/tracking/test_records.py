"""One reader of metrics.jsonl, and settings by dotted keys."""

from pathlib import Path

from tfscale.dotted_keys import flattened, without_empty
from tfscale.tracking.records import records


def test_damaged_lines_and_those_without_a_step_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "kind": "train"}',
        "{",
        "[1]",
        '{"step": true}',
        "[" * 100_000,
        '{"kind": "x"}',
        '{"step": 2}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 1' + "0" * 400 + "}", '{"step": 3']))
    damaged: list[int] = []
    assert [each["step"] for each in records(tmp_path / "metrics.jsonl", damaged)] == [1, 2]
    assert damaged == [2, 3, 4, 5, 6, 8, 9]


def test_lists_and_empty_nodes_are_values() -> None:
    flat = flattened({"a": {"b": 1, "c": {}}, "d": [1, {"e": 2}], "f": None})
    assert flat == {"a.b": 1, "a.c": {}, "d": [1, {"e": 2}], "f": None}
    assert without_empty(flat) == {"a.b": 1, "d": [1, {"e": 2}], "f": None}
