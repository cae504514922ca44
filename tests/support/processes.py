"""Jobs of real processes, started as a user does: run to their end, or watched on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.forked_commands import LAUNCH, forked
from tfscale.checkpoint.folder import complete
from tfscale.checkpoint.format import verify
from tfscale.runs.events import read_events

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # tests in the background: jobs would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def own_data(folder: Path, module: str, code: str, target: str) -> tuple[str, ...]:
    """Writes a module of a user's there, and an option of the same name, whose data is `target`; returns the words."""
    (folder / f"{module}.py").write_text(code)
    (folder / "conf" / "data").mkdir(parents=True)
    (folder / "conf" / "data" / f"{module}.yaml").write_text(f"_target_: {module}.{target}\n")
    return "--config-dir", "conf", f"data={module}", f"trust=[{module}]"


def command(*words: str) -> list[str]:
    """`tfscale train`."""
    return [sys.executable, "-m", "tfscale", "train", *words]


def finished(folder: Path, words: Sequence[str]) -> None:
    """Runs a command to its end, which must be a good one."""
    done = subprocess.run(list(words), cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr


def launched(folder: Path, name: str, *words: str) -> dict[str, Any]:
    """Runs a job to its end under tfscale's own launcher, which is a fork that starts ranks; returns its summary."""
    done = forked().completed(["train", *words, f"run.name={name}"], folder, os.environ)
    assert done.returncode == 0, done.stderr
    return summary(folder, name)


def summary(folder: Path, name: str) -> dict[str, Any]:
    """summary.json of a run."""
    return json.loads((folder / "runs" / name / "summary.json").read_text())


def digest(folder: Path, name: str) -> str:
    """Of everything in a run's last checkpoint."""
    return verify(complete(folder / "runs" / name / "checkpoints")[0]).digest


@contextmanager
def started(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A job, once its run has a checkpoint; killed at the end if it is still there."""
    process = subprocess.Popen(command(*words), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 90
        while not any(complete(place) for place in folder.glob("runs/*/checkpoints")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=30)


def ranks_of(folder: Path, name: str) -> list[psutil.Process]:
    """The processes of a run's last start, by rank."""
    starts = [event for event in read_events(folder / "runs" / name / "events.jsonl") if event["event"] == "start"]
    return [psutil.Process(pid) for pid in starts[-1]["processes"]]


def finish(process: subprocess.Popen[str], seconds: float) -> list[str]:
    """Waits for the end, which must come within `seconds`; returns the lines of standard error."""
    _, errors = process.communicate(timeout=seconds)
    return errors.splitlines()


def launch(code: str, folder: Path, processes: int) -> int:
    """Runs some lines of Python in the processes of a job; returns the exit code."""
    return forked().completed([LAUNCH, code, str(processes)], folder, os.environ).returncode


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until a condition holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
