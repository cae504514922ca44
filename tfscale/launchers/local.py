"""Launcher for the processes of a job on this machine.

Horovod's own launcher puts the environment on command lines and gives survivors of a fault five seconds. Here every
process gets its environment as a dict, and the rendezvous is bound to loopback.

The first process that dies, or a hang, ends all others at once, and the cause (not its consequences) is reported. A
save that all ranks had begun is completed. The supervisor decides whether the job is started again.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import IO, final

from tfscale.checkpoint import staging
from tfscale.checkpoint.folder import newest_complete
from tfscale.checkpoint.format import step_of
from tfscale.checkpoint.recovery import recover
from tfscale.launchers.out_of_memory import ADVICE, oom_kills
from tfscale.launchers.relay import Relay
from tfscale.launchers.rendezvous import bind_store, rank_environment, serving
from tfscale.launchers.spawn import ProcessHandle, Spawner
from tfscale.runs.run_directory import VARIABLE, RunDirectory
from tfscale.supervision.attempt import Attempt, LaunchResult, Outcome
from tfscale.supervision.signals import ENDING, PATIENCE, Stopped, show_cursor, signals_raise, suspends_groups
from tfscale.supervision.watchdog import Watchdog
from tfscale.terminal import logger

POLL = 0.05
"""Seconds between two polls of the processes."""

GRACE = PATIENCE + 2
"""Seconds between asking processes to end and killing them: they complete their step and save."""

CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGABRT}
"""Exit codes of a process that may have written to any memory before."""

STOPS = tuple(128 + number for number in ENDING)
"""Exit codes of a rank that was asked to end."""


@final
class LocalLauncher:
    """Starts the processes of a job on this machine.

    Args:
        spawner: Returns what starts each process of an attempt.
        directory: Run directory.
        start_timeout: Seconds for all processes to find each other.
        interface: Network interface; None for loopback.
        by_horovod: Whether the processes find each other by Horovod; if not, there is one.
    """

    def __init__(
        self,
        spawner: Callable[[Attempt], Spawner],
        *,
        directory: RunDirectory,
        start_timeout: int,
        interface: str | None,
        by_horovod: bool = True,
    ) -> None:
        self._spawner, self._directory = spawner, directory
        self._start_timeout, self._interface, self._by_horovod = start_timeout, interface, by_horovod

    def run(self, attempt: Attempt) -> LaunchResult:
        """Runs one start of the job to its end; passes a signal that asks for the end on to the ranks."""
        launch = _Launch(attempt, self._directory)
        with ExitStack() as stack:
            stack.enter_context(signals_raise())
            stack.enter_context(suspends_groups(launch.pids, launch.resume_watching))
            relay = Relay()
            stack.callback(relay.close)
            stack.callback(launch.close_staging)
            stack.callback(launch.end_all)
            try:
                store = bind_store() if self._by_horovod else None
                port = 0 if store is None else store.server_address[1]
                spawn = self._spawner(attempt)
                for rank in range(attempt.processes):
                    launch.start(rank, spawn, self._environment(rank, attempt, port), relay.output)
                relay.start()  # threads start after all forks
                if store is not None:
                    stack.enter_context(serving(store, f"127.0.0.1:{attempt.processes}", attempt.processes))
                return launch.watch()
            except Stopped as stopped:
                return launch.stop(stopped)

    def _environment(self, rank: int, attempt: Attempt, port: int) -> dict[str, str]:
        return {
            **rank_environment(
                rank,
                processes=attempt.processes,
                port=port,
                start_timeout=self._start_timeout,
                interface=self._interface,
            ),
            VARIABLE: str(self._directory.path.absolute()),
            **attempt.environment,
        }


@final
class _Launch:
    """Processes of one attempt.

    Args:
        attempt: The start of the job.
        directory: Run directory.
    """

    def __init__(self, attempt: Attempt, directory: RunDirectory) -> None:
        self._attempt, self._directory = attempt, directory
        self._processes: list[ProcessHandle] = []
        self._staging_fds: list[int] = []
        self._oom_kills = oom_kills()
        self._watchdog: Watchdog | None = None

    def start(self, rank: int, spawn: Spawner, environment: dict[str, str], output: IO[bytes] | None) -> None:
        """Starts one rank, with a staging buffer that outlives it; the chief writes to `output`."""
        staging_fd = staging.create()
        inherited_fds = () if staging_fd is None else (staging_fd,)
        self._staging_fds += inherited_fds
        if staging_fd is not None:
            environment = {**environment, staging.VARIABLE: str(staging_fd)}
        with self._directory.log(rank).open("ab") as log:
            # Ranks lead sessions of their own: Ctrl-C reaches the parent alone.
            self._processes.append(spawn(environment, output if rank == 0 else log, log, inherited_fds))

    def watch(self) -> LaunchResult:
        """Waits for the end of the job, or for a fault that ends it."""
        self._attempt.started(self.pids())
        self._watchdog = Watchdog(self._attempt, self._directory, self.pids())
        while True:
            codes = [process.poll() for process in self._processes]
            if any(codes) or None not in codes:
                self._watchdog.read()
                step = self._watchdog.step
                return (
                    self._report(codes, step) if any(codes) else LaunchResult(outcome=Outcome.DONE, code=0, step=step)
                )
            hang = self._watchdog.check()
            if hang is not None:
                return LaunchResult(outcome=hang.outcome, code=1, cause=hang.message, step=self._watchdog.step)
            time.sleep(POLL)

    def _report(self, codes: Sequence[int | None], step: int | None) -> LaunchResult:
        """Finds the cause of the end: a death by signal before all else, then the earliest recorded failure."""
        stops = [code for code in codes if code in STOPS]
        if stops:  # a rank was asked to end, and has asked the others
            return self.stop(Stopped(stops[0] - 128))
        self.end_all()  # first, so that no failure is still being recorded
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                reason, log = self._reason_of_death(code), self._directory.log(rank)
                cause = f"rank {rank} (process {self._processes[rank].pid}) was killed by {reason}. Its log: {log}"
                return LaunchResult(outcome=Outcome.RETRYABLE, code=1, cause=cause, step=step)
        failure = self._directory.first_failure(self._attempt.restarts)
        if failure is not None:
            cause = self._directory.describe_failure(failure, alone=self._attempt.processes == 1)
            outcome = Outcome.RETRYABLE if failure.retryable else Outcome.FAILED
            return LaunchResult(outcome=outcome, code=failure.code, cause=cause, step=step)
        rank, code = next((rank, code) for rank, code in enumerate(codes) if code)
        full = "; the disk is full" if self._directory.is_full() else ""
        cause = f"rank {rank} ended with exit code {code}{full}. Its log: {self._directory.log(rank)}"
        return LaunchResult(outcome=Outcome.RETRYABLE, code=1, cause=cause, step=step)

    def _reason_of_death(self, code: int) -> str:
        """Name of the signal that killed a rank, and whether the kernel sent it for lack of memory."""
        name, kills = signal.Signals(-code).name, oom_kills()
        if code == -signal.SIGKILL and kills is not None and kills > (self._oom_kills or 0):
            return f"{name}: the kernel was out of memory; {ADVICE}"
        return name

    def stop(self, stopped: Stopped) -> LaunchResult:
        """Lets the ranks stop at a step that they agree on, and save."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(stopped.number)
        deadline = time.monotonic() + GRACE
        while any(process.poll() is None for process in self._processes) and time.monotonic() < deadline:
            time.sleep(POLL)
        codes = [process.poll() for process in self._processes]
        self.end_all()
        if all(code == 0 for code in codes):  # they had completed the run
            return LaunchResult(outcome=Outcome.DONE, code=0)
        cause = self._directory.describe_stop(stopped.name, lost=not self._is_saved())
        return LaunchResult(outcome=Outcome.STOPPED, code=stopped.exit_code, cause=cause)

    def _is_saved(self) -> bool:
        """Returns whether the newest checkpoint has all steps that any rank has completed."""
        if self._watchdog is None:
            return True
        self._watchdog.read()
        newest = newest_complete(self._directory.checkpoints)
        last = max((record.step for record in self._watchdog.records if record is not None), default=0)
        return last <= (0 if newest is None else step_of(newest))

    def pids(self) -> Sequence[int]:
        """Process ids by rank."""
        return [process.pid for process in self._processes]

    def resume_watching(self) -> None:
        """Restarts the clocks of the watchdog after a pause of all processes."""
        if self._watchdog is not None:
            self._watchdog.restart_clocks()

    def end_all(self) -> None:
        """Kills the remaining processes, then completes the save that all had begun, if the buffers can be trusted."""
        self._kill_all()
        crashed = CRASHES.intersection(process.poll() for process in self._processes)
        if not crashed and len(self._staging_fds) == self._attempt.processes:
            failure = recover(self._directory.checkpoints, self._staging_fds)
            if failure is not None:
                logger.error(f"{failure}; the earlier ones are intact")
        self.close_staging()

    def close_staging(self) -> None:
        """Closes the staging buffers."""
        while self._staging_fds:
            os.close(self._staging_fds.pop())

    def _kill_all(self) -> None:
        """Kills the remaining processes: a rank that waits for one that is gone has nothing to report."""
        alive = [process for process in self._processes if process.poll() is None]
        for process in alive:
            process.kill()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and the processes that it has started itself
        for process in alive:
            process.wait()
        if alive:
            show_cursor()
