"""Kills for lack of memory, as the kernel counts them for the control group (cgroup) of this process.

A process that the kernel kills for memory looks like any other that SIGKILL ended; only the counter tells. Version 2
has it in memory.events, version 1 in memory.oom_control. A machine without control groups has none that is ours alone.
"""

from contextlib import suppress
from pathlib import Path

ADVICE = "lower train.batch, strategy.replicas or launch.np"
"""Settings that need less memory."""

COUNTER = "oom_kill"


def oom_kills(*, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Processes of this control group that the kernel has killed for lack of memory; None if it does not count them.

    Args:
        root: Mount point of the control groups.
        own: File that names the control groups of this process.
    """
    for path in _counters(root, own):
        with suppress(OSError, ValueError):
            fields = dict(line.split(maxsplit=1) for line in path.read_text().splitlines())
            if COUNTER in fields:
                return int(fields[COUNTER])
    return None


def _counters(root: Path, own: Path) -> list[Path]:
    """Files that may have the counter; in a container, the group's folder is the mount point itself."""
    paths: list[Path] = []
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if "memory" in controllers.split(","):
                folder, name = root / "memory", "memory.oom_control"
            elif not controllers:
                folder, name = root, "memory.events"
            else:
                continue
            paths += [folder / group.lstrip("/") / name, folder / name]
    return paths
