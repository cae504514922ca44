"""Starts and watches the processes of a job on this machine, in `horovodrun`'s place.

Horovod's own launcher serves its rendezvous on every interface without a password, puts the environment on command
lines and gives survivors five seconds. One machine needs none of that: the same rendezvous store is bound to loopback
and every process gets its environment as a dict.

The first process to die, or a hang, ends them all at once, and the cause (not the consequences) is reported. Whether
the job is then started again is for the supervisor to say.
"""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any, final

from tfscale.launch.hangs import Watch
from tfscale.launch.run_directory import VARIABLE, RunDirectory
from tfscale.launch.signals import ENDING, PATIENCE, Stopped, show_cursor, signals_raise

PARENT = "TFSCALE_PARENT"
"""Environment variable with the pid that a started process must not outlive."""

POLL = 0.05
"""Seconds between two looks at the processes."""

GRACE = PATIENCE + 2
"""Seconds between asking processes to end and killing them: they complete their step and save."""

STOPS = tuple(128 + number for number in ENDING)
"""Exit codes of a rank that was asked to end."""


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


@dataclass(frozen=True, kw_only=True)
class End:
    """How one start of a job has ended.

    Attributes:
        code: Exit code.
        cause: For the user; None if it ended well.
        again: Whether the job may do better if it is started again.
        hung: Whether it did not end by itself.
        step: Optimizer steps that all ranks had completed, as far as is known.
    """

    code: int
    cause: str | None = None
    again: bool = False
    hung: bool = False
    step: int | None = None


@final
class Processes:
    """The processes of one start of a job.

    Args:
        command: What each runs.
        processes: How many.
        directory: Of the run.
        start_timeout: Seconds for all to find each other.
        interface: Network interface; None for loopback.
        leniency: How many times as long as usual any work may take before the job is said to hang; None for ever.
        extra: More environment variables.
        trains: Called once with a step that is completed and that was not before.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        processes: int,
        directory: RunDirectory,
        start_timeout: int,
        interface: str | None,
        leniency: float | None = None,
        extra: Mapping[str, str] = MappingProxyType({}),
        trains: Callable[[int], None] = lambda step: None,
    ) -> None:
        self._command, self._size, self._directory = list(command), processes, directory
        self._start_timeout, self._interface = start_timeout, interface
        self._leniency, self._extra, self._trains = leniency, extra, trains
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self) -> End:
        """Runs the job to its end; a signal that asks for the end is handed on, and then waited for."""
        with ExitStack() as stack:
            stack.enter_context(signals_raise())
            port = stack.enter_context(_rendezvous(self._size))
            stack.callback(self._kill_all)
            try:
                for rank in range(self._size):
                    log = stack.enter_context(self._directory.log(rank).open("ab"))
                    self._start(rank, port, log)
                watch = Watch(
                    [process.pid for process in self._running], self._directory, leniency=self._leniency or math.inf
                )
                return self._watch(watch)
            except Stopped as stopped:
                return self._stop(stopped)

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
            **self._extra,
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

    def _watch(self, watch: Watch) -> End:
        began: float | None = None
        while True:
            codes = [process.poll() for process in self._running]
            if any(codes):
                return self._report(codes, watch.step)
            if all(code == 0 for code in codes):
                return End(code=0, step=watch.step)
            wrong = watch.look()
            if wrong is not None:
                return End(code=1, cause=wrong, again=True, hung=True, step=watch.step)
            if watch.step is not None and began is not None and watch.step > began:
                self._trains(watch.step)
                began = math.inf  # once is enough
            elif began is None:
                began = watch.step
            time.sleep(POLL)

    def _report(self, codes: Sequence[int | None], step: int | None) -> End:
        """Finds the cause of the end: a death by signal before all else, then the earliest recorded failure."""
        stops = [code for code in codes if code in STOPS]
        if stops:  # somebody has asked a rank, and it the others
            return self._stop(Stopped(stops[0] - 128))
        self._kill_all()  # first, so that no record is still being written
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                cause = f"rank {rank} (process {self._running[rank].pid}) was killed by {name}"
                return End(code=1, cause=f"{cause}. Its log: {self._directory.log(rank)}", again=True, step=step)
        failure = self._directory.first_failure()
        if failure is not None:
            return End(code=failure.code, cause=self._directory.words_of(failure), again=failure.again, step=step)
        rank, code = next((rank, code) for rank, code in enumerate(codes) if code)
        cause = f"rank {rank} ended with exit code {code}. Its log: {self._directory.log(rank)}"
        return End(code=1, cause=cause, again=True, step=step)

    def _stop(self, stopped: Stopped) -> End:
        """Lets the ranks stop at a step that they agree on, and save."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(stopped.number)
        deadline = time.monotonic() + GRACE
        while any(process.poll() is None for process in self._running) and time.monotonic() < deadline:
            time.sleep(POLL)
        self._kill_all()
        words = f"stopped by {stopped.name}; {self._directory.how_to_go_on()}"
        return End(code=stopped.exit_code, cause=words)

    def _kill_all(self) -> None:
        """Ends whatever still runs: a rank that waits for one that is gone has nothing to say."""
        alive = [process for process in self._running if process.poll() is None]
        for process in alive:
            process.kill()
        for process in alive:
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
