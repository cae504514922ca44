"""What tests of processes share."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test may leave a process alive that works in its folder, or a temporary file; gives the place of those."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    yield temporary
    deadline = time.monotonic() + 10
    while left := [
        process.info
        for process in psutil.process_iter(["pid", "cmdline", "cwd"])
        if str(process.info["cwd"] or "").startswith(str(tmp_path))
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert not list(temporary.iterdir())
