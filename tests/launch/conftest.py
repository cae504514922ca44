"""What tests of processes share."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    """No test may leave a process alive that works in its folder."""
    yield
    deadline = time.monotonic() + 10
    while left := [
        process.info
        for process in psutil.process_iter(["pid", "cmdline", "cwd"])
        if str(process.info["cwd"] or "").startswith(str(tmp_path))
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
