"""Starts and watches the processes of a job on this machine, in `horovodrun`'s place.

Horovod's own launcher serves its rendezvous on every interface without a password, puts the environment on command
lines and gives survivors five seconds. One machine needs none of that: the same rendezvous store is bound to loopback
and every process gets its environment as a dict.

The first process to die, or a hang, ends them all at once, and the cause (not the consequences) is reported. A save
that all had begun is brought to its end. Whether the job is then started again is for the supervisor to say.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, final

from tfscale.checkpoint import staging
from tfscale.checkpoint.folder import newest_complete
from tfscale.checkpoint.format import step_of
from tfscale.checkpoint.recovery import recover
from tfscale.launchers.spawn import ProcessHandle, Spawner
from tfscale.runs.run_directory import VARIABLE, RunDirectory
from tfscale.supervision.attempt import Attempt, LaunchResult
from tfscale.supervision.signals import ENDING, PATIENCE, Stopped, show_cursor, signals_raise
from tfscale.supervision.watchdog import Watchdog
from tfscale.terminal import say

POLL = 0.05
"""Seconds between two looks at the processes."""

GRACE = PATIENCE + 2
"""Seconds between asking processes to end and killing them: they complete their step and save."""

CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGABRT}
"""Exit codes of a process that may have written anywhere before."""

STOPS = tuple(128 + number for number in ENDING)
"""Exit codes of a rank that was asked to end."""


def _store() -> Any:
    """Horovod's key-value store, bound to loopback; it answers once it is served."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    return RendezvousHTTPServer(("127.0.0.1", 0), RendezvousHandler, 0)


@contextmanager
def serving(server: Any, hosts: str, processes: int) -> Iterator[int]:
    """Lets a bound RendezvousHTTPServer answer the processes of `hosts` (HOST:PROCESSES,...); gives its port."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

    server.daemon_threads = True
    server.init(get_host_assignments(parse_hosts(hosts), processes))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
    """The processes of one start of a job.

    Args:
        start: Starts each.
        attempt: Which start of the job.
        directory: Of the run.
        start_timeout: Seconds for all to find each other.
        interface: Network interface; None for loopback.
        by_horovod: Whether they find each other by Horovod; if not, there is one.
    """

    def __init__(
        self,
        start: Spawner,
        attempt: Attempt,
        *,
        directory: RunDirectory,
        start_timeout: int,
        interface: str | None,
        by_horovod: bool = True,
    ) -> None:
        self._start_one, self._attempt, self._directory = start, attempt, directory
        self._start_timeout, self._interface, self._by_horovod = start_timeout, interface, by_horovod
        self._running: list[ProcessHandle] = []
        self._memories: list[int] = []
        self._seen: Watchdog | None = None

    def run(self) -> LaunchResult:
        """Runs the job to its end; a signal that asks for the end is handed on, and then waited for."""
        with ExitStack() as stack:
            stack.enter_context(signals_raise())
            stack.callback(self._close_memories)
            stack.callback(self._end_all)
            try:
                store = _store() if self._by_horovod else None
                for rank in range(self._attempt.processes):
                    self._start(rank, 0 if store is None else store.server_address[1])
                if store is not None:  # a thread: after any fork
                    stack.enter_context(serving(store, f"127.0.0.1:{self._attempt.processes}", self._attempt.processes))
                pids = [process.pid for process in self._running]
                self._attempt.started(pids)
                self._seen = Watchdog(
                    pids,
                    self._directory,
                    deadline_scale=self._attempt.deadline_scale,
                    scaled_until=self._attempt.scaled_until,
                    after=self._attempt.after,
                    trains=self._attempt.trains,
                )
                return self._watch(self._seen)
            except Stopped as stopped:
                return self._stop(stopped)

    def _start(self, rank: int, port: int) -> None:
        environment = {
            **rank_environment(
                rank,
                processes=self._attempt.processes,
                port=port,
                start_timeout=self._start_timeout,
                interface=self._interface,
            ),
            VARIABLE: str(self._directory.path.absolute()),
            **self._attempt.environment,
        }
        shared = staging.create()
        inherited_fds = () if shared is None else (shared,)
        self._memories += inherited_fds
        if shared is not None:
            environment[staging.VARIABLE] = str(shared)
        with self._directory.log(rank).open("ab") as log:
            # The chief talks to the terminal; a session of their own keeps Ctrl-C for the parent to act on.
            self._running.append(self._start_one(environment, None if rank == 0 else log, log, inherited_fds))

    def _watch(self, watch: Watchdog) -> LaunchResult:
        while True:
            codes = [process.poll() for process in self._running]
            if any(codes) or None not in codes:
                watch.read()
                return self._report(codes, watch.step) if any(codes) else LaunchResult(code=0, step=watch.step)
            trouble = watch.check()
            if trouble is not None:
                return LaunchResult(code=1, cause=trouble.words, retryable=True, hung=trouble.hangs, step=watch.step)
            time.sleep(POLL)

    def _report(self, codes: Sequence[int | None], step: int | None) -> LaunchResult:
        """Finds the cause of the end: a death by signal before all else, then the earliest recorded failure."""
        stops = [code for code in codes if code in STOPS]
        if stops:  # somebody has asked a rank, and it the others
            return self._stop(Stopped(stops[0] - 128))
        self._end_all()  # first, so that no record is still being written
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                cause = f"rank {rank} (process {self._running[rank].pid}) was killed by {name}"
                return LaunchResult(
                    code=1, cause=f"{cause}. Its log: {self._directory.log(rank)}", retryable=True, step=step
                )
        failure = self._directory.first_failure(self._attempt.restarts)
        if failure is not None:
            words = self._directory.describe_failure(failure, alone=self._attempt.processes == 1)
            return LaunchResult(code=failure.code, cause=words, retryable=failure.retryable, step=step)
        rank, code = next((rank, code) for rank, code in enumerate(codes) if code)
        full = "; the disk is full" if self._directory.is_full() else ""
        cause = f"rank {rank} ended with exit code {code}{full}. Its log: {self._directory.log(rank)}"
        return LaunchResult(code=1, cause=cause, retryable=True, step=step)

    def _stop(self, stopped: Stopped) -> LaunchResult:
        """Lets the ranks stop at a step that they agree on, and save."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(stopped.number)
        deadline = time.monotonic() + GRACE
        while any(process.poll() is None for process in self._running) and time.monotonic() < deadline:
            time.sleep(POLL)
        codes = [process.poll() for process in self._running]
        self._end_all()
        if all(code == 0 for code in codes):  # they were at their end
            return LaunchResult(code=0)
        saved = "" if self._is_saved() else "; what was done since its last checkpoint was not saved in time"
        return LaunchResult(code=stopped.exit_code, cause=self._directory.describe_stop(f"{stopped.name}{saved}"))

    def _is_saved(self) -> bool:
        """Whether the newest checkpoint has all steps that were completed."""
        if self._seen is None:
            return True
        self._seen.read()
        newest = newest_complete(self._directory.checkpoints)
        return (self._seen.step or 0) <= (0 if newest is None else step_of(newest))

    def _end_all(self) -> None:
        """Ends whatever still runs, and then the save that all had begun, if what is left of it can be trusted."""
        self._kill_all()
        crashed = CRASHES.intersection(process.poll() for process in self._running)
        if not crashed and len(self._memories) == self._attempt.processes:
            failure = recover(self._directory.checkpoints, self._memories)
            if failure is not None:
                say(f"{failure}; the earlier ones are intact")
        self._close_memories()

    def _close_memories(self) -> None:
        while self._memories:
            os.close(self._memories.pop())

    def _kill_all(self) -> None:
        """Ends whatever still runs: a rank that waits for one that is gone has nothing to say."""
        alive = [process for process in self._running if process.poll() is None]
        for process in alive:
            process.kill()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started itself
        for process in alive:
            process.wait()
        if alive:
            show_cursor()
