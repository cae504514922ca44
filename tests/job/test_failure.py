"""Failure of a rank: what is recorded for the parent that shows it."""

import subprocess
from pathlib import Path

import pytest

from tests.support.processes import command, own_data
from tfscale.errors import ExchangeError
from tfscale.job.failure import fail
from tfscale.runs.run_directory import VARIABLE, RunDirectory
from tfscale.world import World

WANTED = {
    SystemExit(3): ("SystemExit: 3: this code ended its process; it must return, or raise an error", False),
    GeneratorExit(): ("GeneratorExit: this code ended its process; it must return, or raise an error", False),
    ValueError("no"): ("ValueError: no", False),
    ExchangeError("replicas differ"): ("replicas differ", True),
}


@pytest.mark.parametrize("error", WANTED, ids=repr)
def test_what_the_users_code_raises_is_not_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """SystemExit gave three restarts and no reason."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_SIZE", "1")
    directory = RunDirectory(tmp_path)
    assert fail(error, World(), directory) == 1
    failure = directory.first_failure(0)
    assert failure is not None
    assert (failure.message, failure.retryable) == WANTED[error]


LEAVES = """
import sys

def data():
    sys.exit("no licence")
"""


def test_a_module_that_exits_ends_the_job_at_once_with_its_reason(tmp_path: Path) -> None:
    words = (*own_data(tmp_path, "leaves", LEAVES, "data"), "train.steps=3", "run.name=one")
    done = subprocess.run(command(*words), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tfscale: SystemExit: no licence (leaves.py:5): this code ended its process"), line
    assert line.endswith("Its log: runs/one/logs/rank-0.log")
