"""Starts and watches the processes of a job on this machine, in `horovodrun`'s place.

Horovod's own launcher serves its rendezvous on every interface without a password, puts the environment on command
lines and gives survivors five seconds. One machine needs none of that: the same rendezvous store is bound to loopback
and every process gets its environment as a dict.

The first process to die ends the job: the rest are terminated, then killed, and the cause (not the consequences) is
reported.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any, final

from tfscale.launch.run_directory import VARIABLE, RunDirectory
from tfscale.launch.signals import PATIENCE, Stopped, show_cursor, signals_raise

PARENT = "TFSCALE_PARENT"
"""Environment variable with the pid that a started process must not outlive."""

POLL = 0.05
"""Seconds between two looks at the processes."""

GRACE = PATIENCE + 2
"""Seconds between asking a process to end and killing it: a job of one process completes its step and saves."""


@contextmanager
def _rendezvous(processes: int) -> Iterator[int]:
    """Serves Horovod's key-value store on loopback while the job runs; gives its port."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    server = RendezvousHTTPServer(("127.0.0.1", 0), RendezvousHandler, 0)
    with serving(server, f"127.0.0.1:{processes}", processes) as port:
        yield port


@contextmanager
def serving(server: Any, hosts: str, processes: int) -> Iterator[int]:
    """Lets a bound RendezvousHTTPServer answer the processes of `hosts` (HOST:PROCESSES,...); gives its port."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

    server.daemon_threads = True
    server.init(get_host_assignments(parse_hosts(hosts), processes))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _loopback() -> str:
    """The name of the loopback interface: lo on Linux, lo0 on BSD and macOS."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")


def rank_environment(
    rank: int, *, processes: int, port: int, start_timeout: int, interface: str | None
) -> Mapping[str, str]:
    """What Horovod needs to know in one process."""
    return {
        "HOROVOD_HOSTNAME": "127.0.0.1",
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(processes),
        "HOROVOD_LOCAL_RANK": str(rank),
        "HOROVOD_LOCAL_SIZE": str(processes),
        "HOROVOD_CROSS_RANK": "0",
        "HOROVOD_CROSS_SIZE": "1",
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": interface or _loopback(),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(start_timeout),
    }


@final
class Processes:
    """The processes of one job.

    Args:
        command: What each runs.
        processes: How many.
        directory: Of the run.
        start_timeout: Seconds for all to find each other.
        interface: Network interface; None for loopback.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        processes: int,
        directory: RunDirectory,
        start_timeout: int,
        interface: str | None,
    ) -> None:
        self._command, self._size, self._directory = list(command), processes, directory
        self._start_timeout, self._interface = start_timeout, interface
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self) -> int:
        """Runs the job to its end.

        Returns:
            0, or the exit code of what went wrong, which has been printed to standard error.
        """
        with ExitStack() as stack:
            stack.enter_context(signals_raise())
            port = stack.enter_context(_rendezvous(self._size))
            stack.callback(self._end_all)
            try:
                for rank in range(self._size):
                    log = stack.enter_context(self._directory.log(rank).open("ab"))
                    self._start(rank, port, log)
                return self._watch()
            except Stopped as stopped:
                self._end_all()
                print(f"tfscale: stopped by {stopped.name}; {self._directory.how_to_go_on()}", file=sys.stderr)
                return stopped.exit_code

    def _start(self, rank: int, port: int, log: IO[bytes]) -> None:
        environment = {
            **os.environ,
            **rank_environment(
                rank,
                processes=self._size,
                port=port,
                start_timeout=self._start_timeout,
                interface=self._interface,
            ),
            VARIABLE: str(self._directory.path.absolute()),
            PARENT: str(os.getpid()),
        }
        # The chief talks to the terminal; a session of their own keeps Ctrl-C for the parent to act on.
        output = None if rank == 0 else log
        self._running.append(
            subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )
        )

    def _watch(self) -> int:
        while True:
            codes = [process.poll() for process in self._running]
            if any(codes):
                return self._report(codes)
            if all(code == 0 for code in codes):
                return 0
            time.sleep(POLL)

    def _report(self, codes: Sequence[int | None]) -> int:
        """Prints the cause of the end: a death by signal before all else, then the earliest recorded failure."""
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                print(
                    f"tfscale: rank {rank} (process {self._running[rank].pid}) was killed by {name}; the other "
                    f"processes have been ended. Its log: {self._directory.log(rank)}",
                    file=sys.stderr,
                )
                return 1
        self._end_all()  # first, so that no record is still being written
        shown = self._directory.show_first_failure()
        if shown is not None:
            return shown
        rank, code = next((rank, code) for rank, code in enumerate(codes) if code)
        print(
            f"tfscale: rank {rank} ended with exit code {code}. Its log: {self._directory.log(rank)}",
            file=sys.stderr,
        )
        return 1

    def _end_all(self) -> None:
        """Asks whatever still runs to end, then kills it."""
        alive = [process for process in self._running if process.poll() is None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if alive:
            show_cursor()


def die_with_parent() -> None:
    """In a started process: the kernel kills it when the parent that started it is gone (Linux)."""
    parent = os.environ.get(PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if str(os.getppid()) != parent:
        print(f"tfscale: the process that started this one ({PARENT}={parent}) is gone", file=sys.stderr)
        os._exit(1)
