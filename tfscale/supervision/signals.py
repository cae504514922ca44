"""Signals that ask a job to end.

A parent, which only waits, receives them as an exception. In a process that trains, an exception between two
instructions of TensorFlow's Python leaves TensorFlow in a state that crashes it; there the first signal is recorded,
and the loop reads it after each step.
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
"""Seconds for a process that trains to complete its step and save; ten are usual before a SIGKILL."""


class Stopped(Exception):
    """A signal asked for the end.

    Attributes:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """Name of the signal, as SIGINT."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """Exit code by the convention of shells: 128 + number."""
        return 128 + self.number


def end(process: "subprocess.Popen[bytes]", number: int, seconds: float) -> None:
    """Sends a signal to a session leader; kills its whole session if it has not ended after `seconds`."""
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def signals_raise() -> Iterator[None]:
    """Lets SIGINT, SIGTERM and SIGHUP raise `Stopped`; a second one does not disturb the clean-up after the first."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, _do_nothing)  # SIG_IGN would print a warning about one that is pending
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@final
class PendingSignal:
    """First pending signal of a process that trains.

    A process whose loop has read it once has done work, which it will want to save before it ends.
    """

    def __init__(self) -> None:
        self.first: Stopped | None = None
        self.has_work = False

    def __call__(self) -> Stopped | None:
        """First pending signal, or None."""
        self.has_work = True
        return self.first


@contextmanager
def signals_noted(on_forced_exit: Callable[[Stopped], None]) -> Iterator[PendingSignal]:
    """Records the first SIGINT, SIGTERM or SIGHUP, for the loop to read.

    A process that has no work to save ends at once; one that still runs `PATIENCE` seconds later ends then. A thread
    waits for the signals: a handler in Python would wait for the main thread, which may be in a long operation.

    Args:
        on_forced_exit: Reports to the user before the process is ended here.

    Yields:
        First pending signal.
    """
    pending, is_over = PendingSignal(), Event()
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)

    def wait_for_signal() -> None:
        received = os.read(receiver, 1)
        if not received:
            return
        pending.first = Stopped(received[0])
        if is_over.wait(PATIENCE if pending.has_work else 0):
            return
        try:
            on_forced_exit(pending.first)
            show_cursor()
        finally:
            os._exit(pending.first.exit_code)

    thread = Thread(target=wait_for_signal, name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, _do_nothing) for number in ENDING}
    previous = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    try:
        yield pending
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        is_over.set()
        os.close(sender)
        thread.join()
        os.close(receiver)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handler of a signal that something else acts on."""


def show_cursor() -> None:
    """Shows the cursor of a terminal again, which a progress bar that could not end has hidden."""
    if sys.stdout.isatty():
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()
