"""Rendezvous on loopback."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import command
from tfscale.errors import RunError
from tfscale.launchers.rendezvous import loopback, require_loopback

UNSHARE = ["unshare", "--map-root-user", "--net"]


def can_unshare() -> bool:
    """Whether this machine gives a process a network of its own, in which loopback is down."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def test_a_loopback_that_is_up_is_accepted() -> None:
    require_loopback()


def test_a_connection_that_fails_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **settings: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(RunError, match=rf"{loopback()} must be up .*, got Network is unreachable; type: ip link set"):
        require_loopback()


@pytest.mark.skipif(not can_unshare(), reason="needs a network namespace")
def test_a_loopback_that_is_down_is_one_message_before_anything_starts(tmp_path: Path) -> None:
    """It was: killed by SIGABRT."""
    words = command("strategy=horovod", "launch.np=2", "train.steps=3")
    done = subprocess.run([*UNSHARE, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tfscale: the loopback interface lo must be up for processes to find each other, got ")
    assert line.endswith("type: ip link set lo up, or train in one process with strategy/collective=in_process")
    assert not (tmp_path / "runs").exists()
