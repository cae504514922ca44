"""Signals that ask for an end: noted by a process that trains, which has a limited time to heed them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tfscale.supervision.signals import Stopped, signals_noted

STUCK = """
import hashlib, os, signal, time
from tfscale.supervision import signals
signals.PATIENCE = 0.2
with signals.signals_noted(lambda stopped, lost: print("gave up after", stopped.name, lost, flush=True)):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    {stuck}
"""


def test_the_first_signal_is_noted_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    forced: list[Stopped] = []
    with signals_noted(lambda stopped, lost: forced.append(stopped)) as stop:
        assert stop() is None
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 30
        while (stopped := stop()) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert stopped is not None
    assert (stopped.name, stopped.exit_code) == ("SIGTERM", 143)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not forced


@pytest.mark.parametrize("stuck", ["time.sleep(60)", "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"])
def test_a_process_that_does_not_heed_the_signal_is_ended(stuck: str) -> None:
    """Asleep in Python, or in one long call of C, as TensorFlow's are."""
    code = STUCK.format(stuck=stuck)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "gave up after SIGTERM False\n", "")


def test_a_forced_exit_knows_that_steps_are_lost() -> None:
    """Seen under load: a save took longer than the patience, and nothing said that steps were lost."""
    code = (
        STUCK.format(stuck="time.sleep(60)")
        .replace("os.kill(os", "pending(); os.kill(os")
        .replace("):\n", ") as pending:\n")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "gave up after SIGTERM True\n", "")


IGNORES = """
import os, signal, sys
from tfscale.supervision.signals import Stopped, signals_noted, signals_raise

with {context}:
    for number in (signal.SIGHUP, signal.SIGINT):
        os.kill(os.getpid(), number)
print("still here", flush=True)
"""


@pytest.mark.parametrize("context", ["signals_raise()", "signals_noted(print) as pending"])
def test_signals_that_are_ignored_at_the_start_stay_ignored(context: str) -> None:
    """`nohup tfscale train & kill -HUP` ended the run, and SIGINT those that scripts run in the background."""
    shell = "trap '' HUP INT; exec \"$@\""
    words = ["sh", "-c", shell, "sh", sys.executable, "-c", IGNORES.format(context=context)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still here\n", "")


FORKS = """
import os, signal, sys, time
from pathlib import Path
from tfscale.launchers.spawn import spawn_fork
from tfscale.supervision.signals import signals_raise

def rank():
    handlers = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]
    return 0 if handlers == [signal.SIG_IGN, signal.SIG_DFL] else 5

with signals_raise(), Path(os.devnull).open("wb") as null:
    sys.exit(spawn_fork(rank)({}, null, null).wait())
"""


def test_a_forked_rank_ignores_what_its_parent_ignores() -> None:
    words = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-c", FORKS]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
