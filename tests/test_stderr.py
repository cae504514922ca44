"""What tfscale says on standard error, and when nobody can hear it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tfscale.stderr import say

GOES_ON = """
import sys
from pathlib import Path
from tfscale.launch.attempt import End
from tfscale.launch.run_directory import RunDirectory
from tfscale.launch.supervisor import Policy, Supervisor

class Dies:
    def __init__(self, attempt):
        self.attempt = attempt

    def run(self):
        return End(code=0) if self.attempt.restarts else End(code=1, cause="it dies", again=True)

policy = Policy(max_restarts=1, min_np=1, watches=True)
sys.exit(Supervisor(Dies, directory=RunDirectory(Path(sys.argv[1])), policy=policy).run(1))
"""


def test_a_line_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    say("it is so")
    assert capsys.readouterr() == ("", "tfscale: it is so\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_job_goes_on_whose_output_is_on_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", GOES_ON, tmp_path], stderr=full, timeout=60, check=False)
    assert done.returncode == 0
