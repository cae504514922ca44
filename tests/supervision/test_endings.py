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
from tfscale.launchers import local
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.spawn import Spawner, spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt, LaunchResult, Outcome

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def launch(spawn: Spawner, folder: Path, *, processes: int = 1) -> LaunchResult:
    """Runs a job of processes that need not find each other."""
    directory = RunDirectory(folder)
    launcher = LocalLauncher(
        lambda attempt: spawn, directory=directory, start_timeout=5, interface=None, by_horovod=False
    )
    return launcher.run(Attempt(processes=processes))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_save_is_ended_unless_a_rank_may_have_damaged_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    told: list[int] = []

    def full(folder: Path, memories: Sequence[int]) -> str:
        assert folder == tmp_path / "checkpoints"
        told.append(len(memories))
        return "checkpoint step-000000050 could not be saved: [Errno 28] No space left on device"

    monkeypatch.setattr(local, "recover", full)
    before = os.listdir("/proc/self/fd")
    spawn = spawn_command([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"])
    assert launch(spawn, tmp_path, processes=2).outcome is Outcome.RETRYABLE
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
from tfscale.supervision.phase import Phase

signal.signal(signal.SIGTERM, signal.SIG_IGN)
Heartbeat(Path(sys.argv[1]) / "logs" / "rank-0.heartbeat", timeout=60)(Phase.STEP, 30)
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

    monkeypatch.setattr(local, "recover", saved)
    monkeypatch.setattr(local, "GRACE", 0.1)
    spawn = spawn_command([sys.executable, "-c", DEAF, str(tmp_path)])
    threading.Thread(target=stops, daemon=True).start()
    result = launch(spawn, tmp_path)
    assert (result.outcome, result.code) == (Outcome.STOPPED, 143)
    assert ("steps since its last checkpoint are lost" in str(result.cause)) == lost
