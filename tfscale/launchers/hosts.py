"""Launcher for a job on several hosts: Horovod's launcher, which reaches them by ssh.

If a process dies, horovodrun ends the others; if the job hangs, as heartbeats on the shared file system show, this
launcher ends horovodrun, which ends all processes. The supervisor then starts the job again. A process that could not
be reached on its host ends by itself once its rank has been started again (see `supervision.heartbeat`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

from tfscale.errors import UserError
from tfscale.launchers.spawn import PARENT
from tfscale.runs.run_directory import VARIABLE, RunDirectory
from tfscale.supervision.attempt import Attempt, LaunchResult, Outcome
from tfscale.supervision.coordinated_stop import agreed_stop
from tfscale.supervision.signals import Stopped, end, is_ignored, signals_raise
from tfscale.supervision.watchdog import Watchdog
from tfscale.terminal import logger

PATIENCE = 15.0
"""Seconds for horovodrun to end its processes; it takes five to kill them."""

POLL = 0.1
"""Seconds between two polls of horovodrun."""


@contextmanager
def _refuses_to_suspend() -> Iterator[None]:
    """Answers SIGTSTP (Ctrl-Z) with a message: processes of other hosts cannot be suspended from here."""
    if is_ignored(signal.SIGTSTP):
        yield
        return
    message = "a job on several hosts cannot be suspended; Ctrl-C ends it, and tfscale resume goes on with it"
    before = signal.signal(signal.SIGTSTP, lambda number, frame: logger.warning(message))
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


@final
class HostsLauncher:
    """Starts a job on several hosts.

    Args:
        command: Returns the command that each process of an attempt runs; it must exist on every host.
        hosts: "host1:2" and the like.
        interface: Network interface that connects the hosts; None lets horovodrun find one that all share.
        start_timeout: Seconds for all processes to find each other.
        directory: Run directory, on a file system that all hosts share.

    Raises:
        UserError: There is no horovodrun beside this Python.
    """

    def __init__(
        self,
        command: Callable[[Attempt], Sequence[str]],
        *,
        hosts: Sequence[str],
        interface: str | None,
        start_timeout: int,
        directory: RunDirectory,
    ) -> None:
        self._horovodrun = Path(sys.executable).with_name("horovodrun")
        if not self._horovodrun.exists():
            raise UserError(
                f"launch.hosts needs horovodrun beside {sys.executable}; build Horovod with "
                "`python -m tfscale.scripts.build.horovod`"
            )
        network = [] if interface is None else ["--network-interface", interface]
        self._options = ["-H", ",".join(hosts), "--start-timeout", str(start_timeout), *network]
        self._command, self._directory = command, directory

    def run(self, attempt: Attempt) -> LaunchResult:
        """Runs one start of the job to its end; passes a signal that asks for the end on to horovodrun."""
        watchdog = Watchdog(attempt, self._directory, [0] * attempt.processes)
        with signals_raise(), _refuses_to_suspend():
            launched = self._start(attempt)
            try:
                attempt.started([0] * attempt.processes)
                while (code := launched.poll()) is None:
                    hang = watchdog.check()
                    if hang is not None:
                        return LaunchResult(outcome=hang.outcome, code=1, cause=hang.message, step=watchdog.step)
                    time.sleep(POLL)
            except Stopped as stopped:
                return self._stopped(stopped)
            finally:
                if launched.poll() is None:
                    end(launched, signal.SIGTERM, PATIENCE)  # horovodrun then ends its processes on all hosts
        watchdog.read()
        if code == 0:
            return LaunchResult(outcome=Outcome.DONE, code=0, step=watchdog.step)
        return self._report(code, attempt, watchdog.step)

    def _start(self, attempt: Attempt) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, VARIABLE: str(self._directory.path.absolute()), **attempt.environment}
        environment.pop(PARENT, None)  # the processes must not outlive horovodrun, which sees to that itself
        command = [str(self._horovodrun), "--gloo", "-np", str(attempt.processes), *self._options]
        return subprocess.Popen(
            [*command, *self._command(attempt)], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def _stopped(self, stopped: Stopped) -> LaunchResult:
        cause = self._directory.describe_stop(stopped.name)
        return LaunchResult(outcome=Outcome.STOPPED, code=stopped.exit_code, cause=cause)

    def _report(self, code: int, attempt: Attempt, step: int | None) -> LaunchResult:
        stopped = agreed_stop(self._directory.logs, attempt.restarts)
        if stopped is not None:  # a rank was asked to end, and has asked the others
            return self._stopped(stopped)
        failure = self._directory.first_failure(attempt.restarts)
        if failure is not None:
            outcome = Outcome.RETRYABLE if failure.retryable else Outcome.FAILED
            cause = self._directory.describe_failure(failure)
            return LaunchResult(outcome=outcome, code=failure.code, cause=cause, step=step)
        # If no rank has begun in the first attempt, the hosts could not be reached.
        has_begun = attempt.restarts > 0 or any(self._directory.logs.glob("rank-*.heartbeat"))
        outcome = Outcome.RETRYABLE if has_begun else Outcome.FAILED
        cause = f"horovodrun ended with exit code {code}; its own messages are above"
        return LaunchResult(outcome=outcome, code=code, cause=cause, step=step)
