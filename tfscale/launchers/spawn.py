"""Two ways to start a rank: a command of its own, or a fork of this process.

Importing TensorFlow takes seconds of every core. A parent that has imported it, and has used nothing of it, can fork
ranks that begin to train at once, at the first start and at every restart. TensorFlow starts its threads at its first
use; an import starts only those of OpenBLAS, which restarts them after a fork. Forks are for Linux; elsewhere a library
that is loaded in a parent need not survive a fork.
"""

import atexit
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Protocol, final

from tfscale.supervision.signals import ENDING, is_ignored
from tfscale.terminal import flush, logger, own_streams

PARENT = "TFSCALE_PARENT"
"""Environment variable with the pid of the process that a started process must not outlive."""


class ProcessHandle(Protocol):
    """A started process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    def poll(self) -> int | None:
        """Returns the exit code, negative for the signal that killed it; None while it runs."""
        ...

    def wait(self) -> int:
        """Waits for the end; returns the exit code."""
        ...

    def send_signal(self, sig: int) -> None:
        """Sends a signal, unless the process is known to have ended."""
        ...

    def kill(self) -> None:
        """Sends SIGKILL, unless the process is known to have ended."""
        ...


class Spawner(Protocol):
    """Starts a process that leads a session and ends when this one does."""

    def __call__(
        self,
        environment: Mapping[str, str],
        output: IO[bytes] | None,
        errors: IO[bytes],
        inherited_fds: Sequence[int] = (),
    ) -> ProcessHandle:
        """Adds `environment` to our own and passes `inherited_fds` on; an output of None is our own standard output."""
        ...


def spawn_command(command: Sequence[str]) -> Spawner:
    """Starts a command; it must call `die_with_parent` itself."""

    def start(
        environment: Mapping[str, str], output: IO[bytes] | None, errors: IO[bytes], inherited_fds: Sequence[int] = ()
    ) -> ProcessHandle:
        return subprocess.Popen(
            list(command),
            env={**os.environ, **environment, PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            pass_fds=inherited_fds,
        )

    return start


def spawn_fork(main: Callable[[], int]) -> Spawner:
    """Forks this process, its calling thread alone; the copy exits with the code that `main` returns."""

    def start(
        environment: Mapping[str, str], output: IO[bytes] | None, errors: IO[bytes], inherited_fds: Sequence[int] = ()
    ) -> ProcessHandle:  # a fork inherits all descriptors, `inherited_fds` among them
        flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return ForkedProcess(pid)
        code = 1
        try:
            _leave_parent({**environment, PARENT: str(parent)}, output, errors)
            code = main()
            atexit._run_exitfuncs()  # Horovod shuts down there
        except BaseException:  # noqa: BLE001 - it goes to the log; no code of the parent may run here
            traceback.print_exc()
        finally:
            flush()
            os._exit(code)

    return start


def _leave_parent(environment: Mapping[str, str], output: IO[bytes] | None, errors: IO[bytes]) -> None:
    """Leaves behind what is the parent's: its session, streams, signal handlers and exit handlers."""
    os.setsid()
    for number in (*ENDING, signal.SIGTSTP):
        if not is_ignored(number):
            signal.signal(number, signal.SIG_DFL)
    atexit._clear()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(errors.fileno(), 2)
    if output is not None:
        os.dup2(output.fileno(), 1)
    own_streams()
    os.environ.update(environment)
    die_with_parent()


@final
class ForkedProcess:
    """Forked process.

    Args:
        pid: Process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """See `ProcessHandle`."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self) -> int:
        """See `ProcessHandle`."""
        while (code := self.poll()) is None:
            time.sleep(0.005)
        return code

    def send_signal(self, sig: int) -> None:
        """See `ProcessHandle`."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """See `ProcessHandle`."""
        self.send_signal(signal.SIGKILL)


def die_with_parent() -> None:
    """Lets the kernel kill this process once the parent that started it is gone (Linux)."""
    parent = os.environ.get(PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    libc: Any = ctypes.CDLL(None)
    set_parent_death_signal = 1
    libc.prctl(set_parent_death_signal, signal.SIGKILL)
    if str(os.getppid()) != parent:
        logger.error(f"the process that started this one ({PARENT}={parent}) is gone")
        os._exit(1)
