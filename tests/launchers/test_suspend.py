"""Ctrl-Z stops a job as a whole, and fg continues it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.processes import wait_until
from tfscale.launchers import hosts
from tfscale.supervision.watchdog import MAX_STOPPED

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

RANK = """
import os, sys, time
from pathlib import Path
from tfscale.supervision.heartbeat import Heartbeat
from tfscale.supervision.phase import Phase

rank = os.environ["HOROVOD_RANK"]
heartbeat = Heartbeat(Path("logs") / f"rank-{rank}.heartbeat", timeout=1.0)
for step in range(20):
    heartbeat(Phase.STEP, step)
Path(f"ready-{rank}").touch()
while not Path("end").exists():
    heartbeat(Phase.STEP, 20)
    time.sleep(0.02)
"""
PARENT = f"""
import sys
from pathlib import Path
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.spawn import spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt

spawn = spawn_command([sys.executable, "-c", {RANK!r}])
launcher = LocalLauncher(
    lambda attempt: spawn, directory=RunDirectory(Path(".")), start_timeout=5, interface=None, by_horovod=False
)
print(launcher.run(Attempt(processes=2, deadline_scale=1.0)))
"""


def test_ctrl_z_stops_the_ranks_too_and_is_no_hang(tmp_path: Path) -> None:
    """The parent alone was stopped: the ranks went on training, and nobody watched them."""
    job = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
        parent = psutil.Process(job.pid)
        tree = [parent, *parent.children(recursive=True)]
        assert len(tree) == 3
        job.send_signal(signal.SIGTSTP)
        wait_until(lambda: all(process.status() == psutil.STATUS_STOPPED for process in tree))
        time.sleep(MAX_STOPPED + 0.5)  # longer than a phase may take, and than a process may be stopped
        job.send_signal(signal.SIGCONT)
        wait_until(lambda: all(process.status() != psutil.STATUS_STOPPED for process in tree))
        time.sleep(0.5)  # two checks of the watchdog
        (tmp_path / "end").touch()
        output, _ = job.communicate(timeout=30)
    finally:
        job.kill()
        job.wait()
    assert "Outcome.DONE" in output, output


def test_ctrl_z_on_several_hosts_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """Processes of other hosts would go on, unwatched."""
    with hosts._refuses_to_suspend():
        os.kill(os.getpid(), signal.SIGTSTP)
    assert capsys.readouterr().err == (
        "tfscale: a job on several hosts cannot be suspended; Ctrl-C ends it, and tfscale resume goes on with it\n"
    )
