"""Output of ranks where the standard output of Python is no descriptor."""

import subprocess
import sys
from pathlib import Path

NOTEBOOK = """
import io, os, sys
from pathlib import Path
from tfscale.cli import main

class Kernel(io.TextIOBase):
    # As ipykernel's: an object that only the process that has made it may use.
    def __init__(self, path):
        self.pid, self.path = os.getpid(), path

    def write(self, text):
        assert os.getpid() == self.pid, os._exit(77)
        with self.path.open("a") as file:
            file.write(text)
        return len(text)

    def flush(self):
        assert os.getpid() == self.pid, os._exit(77)

sys.stdout, sys.stderr = Kernel(Path("stdout")), Kernel(Path("stderr"))
code = main(["train", "strategy=sharing", "launch.np=2", "train.steps=3", "train.log_every=1", "run.name=one"])
os._exit(code)
"""


def test_ranks_print_in_a_notebook(tmp_path: Path) -> None:
    """They printed nothing, and the kernel logged that a fork had tried to send a message."""
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    stderr = tmp_path / "stderr"
    assert done.returncode == 0, stderr.read_text() if stderr.exists() else done.stderr
    assert done.stdout == "", "nothing may reach the descriptor, which a server owns"
    lines = (tmp_path / "stdout").read_text().splitlines()
    assert [line.split()[1] for line in lines if "samples/s" in line and line.startswith("step ")] == [
        "1/3",
        "2/3",
        "3/3",
    ]
    assert lines[0] == "starting 2 processes" and "  tfscale evaluate run=one" in lines[-5:]
