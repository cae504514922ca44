"""Starts a job on several hosts through Horovod's launcher, which reaches them by ssh."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfscale.errors import UserError
from tfscale.launch.run_directory import VARIABLE, RunDirectory
from tfscale.launch.signals import Stopped, end, signals_raise
from tfscale.launch.starting import PARENT

PATIENCE = 15.0
"""Seconds for horovodrun to end its processes; it takes five to kill them."""


def run(
    command: Sequence[str],
    *,
    processes: int,
    hosts: Sequence[str],
    interface: str | None,
    start_timeout: int,
    directory: RunDirectory,
) -> int:
    """Runs the job to its end and returns its exit code.

    Args:
        command: What each process runs; it must exist on every host.
        processes: How many.
        hosts: "host1:2" and the like.
        interface: What the hosts talk over; None lets horovodrun find one that all share.
        start_timeout: Seconds for all to find each other.
        directory: Of the run, on a file system that all hosts share.

    Raises:
        UserError: There is no horovodrun beside this Python.
    """
    launcher = Path(sys.executable).with_name("horovodrun")
    if not launcher.exists():
        raise UserError(
            f"launch.hosts needs horovodrun beside {sys.executable}; build Horovod with "
            "`python -m tfscale.scripts.build_horovod`"
        )
    network = [] if interface is None else ["--network-interface", interface]
    full = [
        *(str(launcher), "--gloo", "-np", str(processes), "-H", ",".join(hosts), "--start-timeout", str(start_timeout)),
        *network,
        *command,
    ]
    environment = {**os.environ, VARIABLE: str(directory.path.absolute())}
    environment.pop(PARENT, None)  # it is horovodrun that the processes must not outlive, and it sees to that
    with signals_raise():
        launched = subprocess.Popen(full, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = launched.wait()
        except Stopped as stopped:
            end(launched, signal.SIGTERM, PATIENCE)  # horovodrun then ends its processes on all hosts
            print(f"tfscale: stopped by {stopped.name}; {directory.how_to_go_on()}", file=sys.stderr)
            return stopped.exit_code
    if code == 0:
        return 0
    failure = directory.first_failure()
    words = f"horovodrun ended with exit code {code}; its own words are above"
    print(f"tfscale: {directory.words_of(failure) if failure is not None else words}", file=sys.stderr)
    return failure.code if failure is not None else code
