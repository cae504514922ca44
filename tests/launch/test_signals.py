"""Signals that ask for an end: noted by a process that trains, which has a limited time to heed them."""

import os
import signal
import subprocess
import sys

from tfscale.launch.signals import Stopped, signals_noted

STUCK = """
import os, signal, time
from tfscale.launch import signals
signals.PATIENCE = 0.2
with signals.signals_noted(lambda stopped: print("gave up after", stopped.name)):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(60)
"""


def test_the_first_signal_is_noted_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    said: list[Stopped] = []
    with signals_noted(said.append) as stop:
        assert stop() is None
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        stopped = stop()
    assert stopped is not None
    assert (stopped.name, stopped.exit_code) == ("SIGTERM", 143)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not said


def test_a_process_that_does_not_heed_the_signal_is_ended() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "gave up after SIGTERM\n", "")
