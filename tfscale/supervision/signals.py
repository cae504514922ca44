"""Signals that ask a job to end, or to pause.

A parent, which only waits, receives those that end a job as an exception. In a process that trains, an exception
between two instructions of TensorFlow's Python leaves TensorFlow in a state that crashes it; there the first signal is
recorded, and the loop reads it after each step. A signal that is ignored when the program starts, as `nohup` and shells
do it for background jobs, stays ignored.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from types import FrameType
from typing import Any, final

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], None]
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
        _handle_ending(_do_nothing)  # SIG_IGN would print a warning about one that is pending
        raise Stopped(number)

    before = _handle_ending(stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle_ending(handler: Handler) -> dict[int, Any]:
    """Sets the handler of each ending signal that is not ignored; returns the handlers before."""
    return {number: signal.signal(number, handler) for number in ENDING if not is_ignored(number)}


def is_ignored(number: int) -> bool:
    """Returns whether a signal is ignored, as `nohup` makes it for a whole tree of processes."""
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def suspends_groups(pids: Callable[[], Sequence[int]], on_continue: Callable[[], None]) -> Iterator[None]:
    """Lets SIGTSTP (Ctrl-Z) stop other process groups along with this process, and SIGCONT continue them.

    The kernel discards SIGTSTP for processes that lead sessions of their own, hence SIGSTOP.

    Args:
        pids: Returns the leaders of the groups.
        on_continue: Called once all have been continued.
    """

    def suspend(number: int, frame: FrameType | None) -> None:
        leaders = pids()
        for pid in leaders:
            _signal_group(pid, signal.SIGSTOP)
        show_cursor()
        os.kill(os.getpid(), signal.SIGSTOP)  # returns after SIGCONT
        for pid in leaders:
            _signal_group(pid, signal.SIGCONT)
        on_continue()

    if is_ignored(signal.SIGTSTP):
        yield
        return
    before = signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # forked, and not a leader yet
            os.kill(pid, number)


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
def signals_noted(on_forced_exit: Callable[[Stopped, bool], None]) -> Iterator[PendingSignal]:
    """Records the first SIGINT, SIGTERM or SIGHUP, for the loop to read.

    A process that has no work to save ends at once; one that still runs `PATIENCE` seconds later ends then. A thread
    waits for the signals: a handler in Python would wait for the main thread, which may be in a long operation.

    Args:
        on_forced_exit: Reports to the user before the process is ended here; told whether steps may be lost.

    Yields:
        First pending signal.
    """
    pending, is_over = PendingSignal(), Event()
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)

    def wait_for_signal() -> None:
        received = os.read(receiver, 1)
        while received and received[0] not in ENDING:  # a handler of other code
            received = os.read(receiver, 1)
        if not received:
            return
        pending.first = Stopped(received[0])
        if is_over.wait(PATIENCE if pending.has_work else 0):
            return
        try:
            on_forced_exit(pending.first, pending.has_work)
            show_cursor()
        finally:
            os._exit(pending.first.exit_code)

    thread = Thread(target=wait_for_signal, name="signals", daemon=True)
    thread.start()
    before = _handle_ending(_do_nothing)
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
    if sys.stdout is not None and sys.stdout.isatty():
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()
