"""Ranks that the kernel kills for lack of memory.

TFSCALE_TEST_CGROUP names the folder of a real control group with a limit of some hundred MB, which the last test joins;
tests do not make one unasked.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfscale.launchers import local
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.out_of_memory import oom_kills
from tfscale.launchers.spawn import spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt, LaunchResult, Outcome

V1 = "9:name=systemd:/\n4:cpu,memory:/jobs/one\n0::/\n"
V2 = "0::/jobs/one\n"
EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {kills}\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n"
KILLED = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]


def fake(folder: Path, own: str, path: str, content: str) -> int | None:
    """Counts in a folder that looks like control groups."""
    (folder / "own").write_text(own)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(content)
    return oom_kills(root=folder, own=folder / "own")


@pytest.mark.parametrize(
    ("own", "path", "content"),
    [
        (V2, "jobs/one/memory.events", EVENTS),
        (V2, "memory.events", EVENTS),
        (V1, "memory/jobs/one/memory.oom_control", CONTROL),
        (V1, "memory/memory.oom_control", CONTROL),
    ],
)
def test_kills_are_counted_in_both_versions_and_in_containers(
    tmp_path: Path, own: str, path: str, content: str
) -> None:
    assert fake(tmp_path, own, path, content.format(kills=7)) == 7


@pytest.mark.parametrize("content", ["", "oom_kill\n", "oom_kill many\n", "max 3\n"])
def test_a_machine_that_does_not_count_gives_none(tmp_path: Path, content: str) -> None:
    assert fake(tmp_path, V2, "jobs/one/memory.events", content) is None
    assert oom_kills(root=tmp_path, own=tmp_path / "none") is None


def launch(command: list[str], folder: Path) -> LaunchResult:
    spawn, directory = spawn_command(command), RunDirectory(folder)
    launcher = LocalLauncher(
        lambda attempt: spawn, directory=directory, start_timeout=5, interface=None, by_horovod=False
    )
    return launcher.run(Attempt(processes=1))


@pytest.mark.parametrize(("counts", "for_memory"), [([2, 3], True), ([2, 2], False), ([None, None], False)])
def test_a_kill_for_memory_says_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: list[int | None], for_memory: bool
) -> None:
    """It was: rank 1 was killed by SIGKILL, twice, and memory was not mentioned."""
    monkeypatch.setattr(local, "oom_kills", lambda: counts.pop(0))
    result = launch(KILLED, tmp_path)
    assert result.outcome is Outcome.RETRYABLE
    reason = ": the kernel was out of memory; lower train.batch, strategy.replicas or launch.np"
    assert str(result.cause).endswith(
        f"was killed by SIGKILL{reason if for_memory else ''}. Its log: {tmp_path / 'logs' / 'rank-0.log'}"
    )


GROUP = os.environ.get("TFSCALE_TEST_CGROUP")
EATS = """
import sys
from pathlib import Path
from tests.launchers.test_out_of_memory import launch

Path(sys.argv[1], "cgroup.procs").write_text("0")
print(launch([sys.executable, "-c", "data = [b'x' * (1 << 20) for _ in range(1 << 14)]"], Path(sys.argv[2])).cause)
"""


@pytest.mark.skipif(GROUP is None, reason="needs a control group: TFSCALE_TEST_CGROUP=/sys/fs/cgroup/...")
def test_a_real_kernel_counts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EATS, str(GROUP), str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "was killed by SIGKILL: the kernel was out of memory" in done.stdout
