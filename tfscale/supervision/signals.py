"""Signals that ask for the end of a job.

A parent, which only waits, gets them as an exception. A process that trains must not: an exception raised between two
instructions of TensorFlow's Python leaves TensorFlow in a state of which it dies. There they are noted, and the loop
asks after each step.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from types import FrameType
from typing import final

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = "\x1b[?25h"
PATIENCE = 8.0
"""Seconds that a process which trains has to complete its step and save; ten are usual before a SIGKILL."""


class Stopped(Exception):
    """A signal asked for the end.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """SIGINT and the like."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """What a shell makes of it: 128 + number."""
        return 128 + self.number


def end(process: "subprocess.Popen[bytes]", number: int, seconds: float) -> None:
    """Sends a signal to a process that leads a session; kills the whole session if it does not end in time."""
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def signals_raise() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise `Stopped`; a second one does not disturb the clean-up after the first."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, lambda number, frame: None)  # SIG_IGN would complain of one that is under way
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@final
class Noted:
    """What to ask for the first signal.

    Whoever has asked has done work since the process started, which it will want to save before it ends.
    """

    def __init__(self) -> None:
        self.first: Stopped | None = None
        self.has_work = False

    def __call__(self) -> Stopped | None:
        """The first signal, if there was one."""
        self.has_work = True
        return self.first


@contextmanager
def signals_noted(say: Callable[[Stopped], None]) -> Iterator[Noted]:
    """SIGINT, SIGTERM and SIGHUP are noted, the first of them.

    A process that has no work to save is ended at once, one that still runs `PATIENCE` seconds later then. A thread
    hears of signals: handlers in Python wait for the main thread, which may be in an operation for long.

    Args:
        say: Tells the user when the process is ended here.

    Yields:
        What to ask for the first of them.
    """
    noted, over = Noted(), Event()
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)

    def listen() -> None:
        heard = os.read(ear, 1)
        if not heard:
            return
        noted.first = Stopped(heard[0])
        if over.wait(PATIENCE if noted.has_work else 0):
            return
        try:
            say(noted.first)
            show_cursor()
        finally:
            os._exit(noted.first.exit_code)

    listener = Thread(target=listen, name="signals", daemon=True)
    listener.start()
    before = {number: signal.signal(number, lambda number, frame: None) for number in ENDING}
    woken = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    try:
        yield noted
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        over.set()
        os.close(mouth)
        listener.join()
        os.close(ear)


def show_cursor() -> None:
    """Gives a terminal back the cursor that a progress bar had hidden and had no time to show again."""
    if sys.stdout.isatty():
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()
