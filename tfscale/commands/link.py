"""The link of an estimate: measured between processes that a launcher starts, or given."""

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tfscale import user_paths
from tfscale.commands import prepare
from tfscale.config.schemas.config import Config, Launch
from tfscale.errors import HOROVOD_MISSING, RunError, UserError
from tfscale.estimate.link import RESULT, Link, Transport
from tfscale.estimate.model import FRAMES, turns
from tfscale.launchers.hosts import HostsLauncher
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.rendezvous import require_loopback
from tfscale.launchers.spawn import spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt, Launcher, Outcome

MEASURE = (sys.executable, "-P", "-m", "tfscale.job.measure_link")
"""Command of each process; see there."""


def of_this_machine() -> Transport:
    """Measures what an exchange costs two processes of this machine, apart from any link.

    Raises:
        UserError: There is no Horovod.
        RunError: The processes fail.
    """
    if find_spec("horovod") is None:
        raise UserError(HOROVOD_MISSING)
    require_loopback()
    with _folder(None) as place:
        return _measured(place, processes=2, launch=None)


def processes_of(config: Config) -> int:
    """Returns the number of processes between which a link is measured.

    Raises:
        UserError: There is none: processes of one machine have no link, and one process has none either.
    """
    processes = prepare.processes_of(config)
    if config.launch.hosts is None or processes == 1:
        raise UserError(
            "link=measure must have hosts to measure between; type launch.hosts=[HOST1:1,HOST2:1] launch.np=2"
        )
    return processes


def between_processes(config: Config, *, local: Transport) -> Link:
    """Measures the link between the processes of a job.

    Args:
        config: Says how many there are, and where.
        local: Of this machine, which is taken off.

    Returns:
        The link; infinite bandwidth if its bytes cost nothing beyond those of this machine.

    Raises:
        RunError: The processes fail.
    """
    processes = processes_of(config)
    folder = user_paths.expanded(config.run.dir)
    with _folder(folder) as place:
        measured = _measured(place, processes=processes, launch=config.launch)
    a_byte = measured.seconds_a_byte - local.seconds_a_byte
    latency = max(0.0, measured.call - local.call) / turns("gather", processes)
    return Link(bandwidth=FRAMES / a_byte if a_byte > 0 else math.inf, latency=latency)


@contextmanager
def _folder(shared: Path | None) -> Iterator[Path]:
    """A folder for the processes' files: below `shared`, which all hosts see, or anywhere."""
    if shared is not None:
        try:
            shared.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"run.dir={shared} cannot be written to: {error.strerror}; give another run.dir") from None
    with tempfile.TemporaryDirectory(prefix="link-", dir=shared) as temporary:
        yield Path(temporary).absolute()


def _measured(folder: Path, *, processes: int, launch: Launch | None) -> Transport:
    directory = RunDirectory(folder, logs="logs-link")
    result = _launcher(directory, launch).run(Attempt(processes=processes))
    if result.outcome is Outcome.STOPPED:
        raise KeyboardInterrupt
    if result.outcome is not Outcome.DONE:
        log = directory.log(0)
        said = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        raise RunError(f"the link cannot be measured: {(said or ['the processes said nothing'])[0][:300]}")
    return Transport(**json.loads((folder / RESULT).read_text(encoding="utf-8")))


def _launcher(directory: RunDirectory, launch: Launch | None) -> Launcher:
    if launch is not None and launch.hosts is not None:
        return HostsLauncher(
            lambda attempt: MEASURE,
            hosts=launch.hosts,
            interface=launch.network_interface,
            start_timeout=launch.start_timeout,
            directory=directory,
        )
    spawner = spawn_command(list(MEASURE))
    return LocalLauncher(
        lambda attempt: spawner,
        directory=directory,
        start_timeout=60 if launch is None else launch.start_timeout,
        interface=None if launch is None else launch.network_interface,
    )
