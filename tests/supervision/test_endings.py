"""What becomes of a save when processes end, and what is said of it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tfscale.checkpoint import format as checkpoint_format
from tfscale.launchers import local as processes
from tfscale.launchers.local import Processes
from tfscale.launchers.spawn import Spawner, spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def processes_of(start: Spawner, folder: Path, *, count: int = 1) -> Processes:
    """A job of processes that need not find each other."""
    attempt, directory = Attempt(processes=count), RunDirectory(folder)
    return Processes(start, attempt, directory=directory, start_timeout=5, interface=None, by_horovod=False)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_save_is_ended_unless_a_rank_may_have_damaged_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    told: list[int] = []

    def full(folder: Path, memories: Sequence[int]) -> str:
        assert folder == tmp_path / "checkpoints"
        told.append(len(memories))
        return "checkpoint step-000000050 could not be saved: [Errno 28] No space left on device"

    monkeypatch.setattr(processes, "recover", full)
    before = os.listdir("/proc/self/fd")
    start = spawn_command([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"])
    job = processes_of(start, tmp_path, count=2)
    assert job.run().retryable
    assert len(os.listdir("/proc/self/fd")) == len(before)
    words = (
        "tfscale: checkpoint step-000000050 could not be saved: [Errno 28] No space left on device; the earlier ones"
    )
    killed = number == signal.SIGKILL
    assert told == ([2] if killed else [])
    assert capsys.readouterr().err == (f"{words} are intact\n" if killed else "")


DEAF = """
import signal
import sys
import time
from pathlib import Path
from tfscale.supervision.heartbeat import Heartbeat

signal.signal(signal.SIGTERM, signal.SIG_IGN)
Heartbeat(Path(sys.argv[1]) / "logs" / "rank-0.heartbeat", timeout=60)("a step", 30)
Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


@pytest.mark.parametrize(("last", "lost"), [(30, False), (25, True), (None, True)])
def test_a_stop_says_whether_all_steps_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int | None, lost: bool
) -> None:
    """What is saved once the processes are gone counts, too."""

    def saved(folder: Path, memories: Sequence[int]) -> None:
        if last is not None:
            (folder / checkpoint_format.folder_name(last)).mkdir(parents=True)

    def stops() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(processes, "recover", saved)
    monkeypatch.setattr(processes, "GRACE", 0.1)
    start = spawn_command([sys.executable, "-c", DEAF, str(tmp_path)])
    job = processes_of(start, tmp_path)
    threading.Thread(target=stops, daemon=True).start()
    end = job.run()
    assert end.code == 143
    assert ("not saved in time" in str(end.cause)) == lost
