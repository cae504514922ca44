"""Starts a job on several hosts through Horovod's launcher, which reaches them by ssh.

When a process dies, horovodrun ends the others; when the job hangs, as heartbeats on the shared file system tell, it is
asked to end all. The supervisor then starts the job again. A process that could not be reached on its host ends by
itself when it sees the heartbeat of its successor (see `pulse`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

from tfscale.errors import UserError
from tfscale.launchers.spawn import PARENT
from tfscale.runs.run_directory import VARIABLE, RunDirectory
from tfscale.supervision.attempt import Attempt, LaunchResult
from tfscale.supervision.coordinated_stop import agreed_stop
from tfscale.supervision.signals import Stopped, end, signals_raise
from tfscale.supervision.watchdog import Watchdog

PATIENCE = 15.0
"""Seconds for horovodrun to end its processes; it takes five to kill them."""

POLL = 0.1
"""Seconds between two looks at horovodrun."""


@final
class Hosts:
    """One start of a job on several hosts.

    Args:
        command: What each process runs; it must exist on every host.
        attempt: Which start of the job; it is told a 0 for each process: their numbers are their hosts'.
        hosts: "host1:2" and the like.
        interface: What the hosts talk over; None lets horovodrun find one that all share.
        start_timeout: Seconds for all to find each other.
        directory: Of the run, on a file system that all hosts share.

    Raises:
        UserError: There is no horovodrun beside this Python.
    """

    def __init__(
        self,
        command: Sequence[str],
        attempt: Attempt,
        *,
        hosts: Sequence[str],
        interface: str | None,
        start_timeout: int,
        directory: RunDirectory,
    ) -> None:
        launcher = Path(sys.executable).with_name("horovodrun")
        if not launcher.exists():
            raise UserError(
                f"launch.hosts needs horovodrun beside {sys.executable}; build Horovod with "
                "`python -m tfscale.scripts.build.horovod`"
            )
        network = [] if interface is None else ["--network-interface", interface]
        self._command = [
            *(str(launcher), "--gloo", "-np", str(attempt.processes), "-H", ",".join(hosts)),
            *("--start-timeout", str(start_timeout)),
            *network,
            *command,
        ]
        self._directory, self._attempt = directory, attempt

    def run(self) -> LaunchResult:
        """Runs the job to its end; a signal that asks for the end is handed on, and then waited for."""
        environment = {**os.environ, VARIABLE: str(self._directory.path.absolute()), **self._attempt.environment}
        environment.pop(PARENT, None)  # it is horovodrun that the processes must not outlive, and it sees to that
        with signals_raise():
            launched = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
            )
            try:
                pids = [0] * self._attempt.processes
                self._attempt.started(pids)
                watch = Watchdog(
                    pids,
                    self._directory,
                    deadline_scale=self._attempt.deadline_scale,
                    scaled_until=self._attempt.scaled_until,
                    after=self._attempt.after,
                    trains=self._attempt.trains,
                )
                while (code := launched.poll()) is None:
                    trouble = watch.check()
                    if trouble is not None:
                        return LaunchResult(
                            code=1, cause=trouble.words, retryable=True, hung=trouble.hangs, step=watch.step
                        )
                    time.sleep(POLL)
            except Stopped as stopped:
                return LaunchResult(code=stopped.exit_code, cause=self._directory.describe_stop(stopped.name))
            finally:
                if launched.poll() is None:
                    end(launched, signal.SIGTERM, PATIENCE)  # horovodrun then ends its processes on all hosts
        watch.read()
        return LaunchResult(code=0, step=watch.step) if code == 0 else self._report(code, watch.step)

    def _report(self, code: int, step: int | None) -> LaunchResult:
        stopped = agreed_stop(self._directory.logs, self._attempt.restarts)
        if stopped is not None:  # somebody has asked a rank, and it the others
            return LaunchResult(code=stopped.exit_code, cause=self._directory.describe_stop(stopped.name))
        failure = self._directory.first_failure(self._attempt.restarts)
        if failure is not None:
            return LaunchResult(
                code=failure.code,
                cause=self._directory.describe_failure(failure),
                retryable=failure.retryable,
                step=step,
            )
        # If none has begun the first time, the hosts could not be reached.
        began = self._attempt.restarts > 0 or any(self._directory.logs.glob("rank-*.heartbeat"))
        words = f"horovodrun ended with exit code {code}; its own words are above"
        return LaunchResult(code=code, cause=words, retryable=began, step=step)
