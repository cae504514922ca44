"""First line of a training command, before TensorFlow loads."""

import subprocess
import sys
from pathlib import Path

import pytest

BEFORE = """
import sys
from tfscale.cli import main
from tfscale.supervision.supervisor import Supervisor

def run(self, processes):
    assert "tensorflow" not in sys.modules
    return 7

Supervisor.run = run
sys.exit(main(["train", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(("processes", "line"), [(1, "starting 1 process\n"), (2, "starting 2 processes\n")])
def test_a_job_says_at_once_that_it_starts(tmp_path: Path, processes: int, line: str) -> None:
    """Nothing was printed for the 10 to 20 s in which TensorFlow loads."""
    words = [sys.executable, "-c", BEFORE, "strategy=sharing", "strategy.replicas=2", f"launch.np={processes}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, line, "")
