"""Starts a job on several hosts through Horovod's launcher, which reaches them by ssh."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfscale.errors import UserError
from tfscale.launch.run_directory import VARIABLE, RunDirectory
from tfscale.launch.signals import Stopped, signals_raise


def run(
    command: Sequence[str],
    *,
    processes: int,
    hosts: str,
    interface: str | None,
    start_timeout: int,
    directory: RunDirectory,
) -> int:
    """Runs the job to its end and returns horovodrun's exit code.

    Args:
        command: What each process runs; it must exist on every host.
        processes: How many.
        hosts: "host1:2,host2:2".
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
        *(str(launcher), "--gloo", "-np", str(processes), "-H", hosts, "--start-timeout", str(start_timeout)),
        *network,
        *command,
    ]
    environment = {**os.environ, VARIABLE: str(directory.path.absolute())}
    with signals_raise():
        launched = subprocess.Popen(full, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            return launched.wait()
        except Stopped as stopped:
            launched.terminate()  # horovodrun then ends its processes on all hosts
            launched.wait()
            print(f"tfscale: stopped by {stopped.name}; all processes have been ended", file=sys.stderr)
            return stopped.exit_code
