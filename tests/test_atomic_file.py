"""A file is replaced as a whole or not at all."""

import os
from pathlib import Path

import pytest

from tfscale import atomic_file


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    for content in ("eins\n", b"\xff\x00", "zwei ä"):
        atomic_file.replace(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["f.json"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    atomic_file.replace(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        atomic_file.replace(path, "new")
    assert os.listdir(tmp_path) == ["f.json"]
    assert path.read_text() == "old"
