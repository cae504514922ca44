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
with signals.signals_noted(lambda stopped: print("gave up after", stopped.name, flush=True)):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    {stuck}
"""


def test_the_first_signal_is_noted_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    said: list[Stopped] = []
    with signals_noted(said.append) as stop:
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
    assert not said


@pytest.mark.parametrize("stuck", ["time.sleep(60)", "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"])
def test_a_process_that_does_not_heed_the_signal_is_ended(stuck: str) -> None:
    """Asleep in Python, or in one long call of C, as TensorFlow's are."""
    code = STUCK.format(stuck=stuck)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "gave up after SIGTERM\n", "")
