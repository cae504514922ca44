"""environment.json: what was typed, where, and what it ran on, for each start of a run.

The keys at the top are facts of the first start. `starts` lists the later ones (`tfscale resume`), each as far as it
differs from the first; restarts by the supervisor are no starts of their own, events.jsonl has them. The process in
which the command is typed notes the command and the code; the chief rank adds machine, packages and devices, as it may
run on another host. Values of environment variables are not recorded, and addresses
without their passwords. Nothing here stops a run.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tfscale import cores
from tfscale.runs import summary
from tfscale.userinfo import without_userinfo

COMMAND = "TFSCALE_COMMAND"
"""Environment variable that a sweep sets for its jobs: the command line that the user typed."""

MOST_STARTS = 20
"""Starts in the file: the first, and the last ones."""

MOST_DIFFERENCES = 8
"""Differences that a warning lists."""

GIT_SECONDS = 5.0
"""Seconds that git may take; in a repository on a slow disk the commit stays unknown rather than the run wait."""

IDENTITY = ("tfscale", "tensorflow", "keras", "horovod", "numpy", "hydra-core", "omegaconf")
"""Packages whose versions bits depend on."""

COMPARED = (
    *IDENTITY,
    *("device", "intra_op_threads", "inter_op_threads", "onednn", "processes", "transport", "data"),
    *("python", "cpu", "gpus", "packages"),
)
"""Facts that a run which reproduces another one compares with its own."""

_ROOT = Path(__file__).resolve().parents[2]


def begin(path: Path, command: Sequence[str], overrides: Sequence[str], **more: object) -> None:
    """Adds a start to the file.

    Args:
        path: environment.json of the run.
        command: The words of the command line.
        overrides: KEY=VALUE words of this run.
        more: Further facts.
    """
    typed = os.environ.pop(COMMAND, None) or shlex.join(command)
    facts = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": typed,
        "overrides": list(overrides),
        "folder": os.getcwd(),
        "git": repository(Path.cwd()),
        "tfscale_git": repository(_ROOT) if (_ROOT / ".git").exists() else None,
        **more,
    }
    _write(path, [*starts(path), facts])


def add(path: Path, facts: Mapping[str, object]) -> None:
    """Adds facts to the last start of the file."""
    earlier = starts(path) or [{}]
    _write(path, [*earlier[:-1], {**earlier[-1], **facts}])


def starts(path: Path) -> list[dict[str, Any]]:
    """Returns all facts of each start, the first one first; none if there is no readable file."""
    with suppress(OSError, ValueError, RecursionError):
        document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if isinstance(document, dict):
            later = document.pop("starts", None)
            kept = [each for each in later if isinstance(each, dict)] if isinstance(later, list) else []
            return [document, *({**document, **each} for each in kept)]
    return []


def _write(path: Path, facts: Sequence[Mapping[str, Any]]) -> None:
    first, *later = facts
    later = later[max(0, len(later) - MOST_STARTS + 1) :]
    changed = [
        {name: value for name, value in each.items() if name not in first or value != first[name]} for each in later
    ]
    with suppress(OSError):  # a full disk does not end a run
        summary.write(without_userinfo({**first, **({"starts": changed} if later else {})}), path)


def differences(path: Path) -> list[str]:
    """Returns how the last start differs from the run that it reproduces, a sentence each; none if it reproduces none.

    Args:
        path: environment.json, complete.
    """
    now = next(iter(starts(path)[-1:]), {})
    original = now.get("reproduces")
    before = original.get("facts") if isinstance(original, dict) else None
    if not isinstance(original, dict) or not isinstance(before, dict):
        return []
    found = []
    if "data" not in before:
        found.append("it is not known whether the data are the same: the run has neither a checkpoint nor their digest")
    elif before["data"] != now.get("data"):
        found.append(f"the data have changed: their digest was {before['data']} and is {now.get('data')}")
    if parts := _different(before, now):
        more = f", and {len(parts) - MOST_DIFFERENCES} more" if len(parts) > MOST_DIFFERENCES else ""
        found.append(f"its bits may differ: {'; '.join(parts[:MOST_DIFFERENCES])}{more}")
    name = Path(str(original.get("run"))).name
    return [f"run {name} is being reproduced, and {each}" for each in found]


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Facts besides the data that differ, and packages besides IDENTITY, where they were recorded."""
    parts = [
        f"{name} was {before[name]} and is {now.get(name)}"
        for name in COMPARED
        if name not in ("data", "packages") and name in before and before[name] != now.get(name)
    ]
    old, new = ({**(each.get("packages") or {})} for each in (before, now))
    others = sorted({*old, *new} - {*IDENTITY}) if old else []
    return [
        *parts,
        *(f"{each} was {old.get(each)} and is {new.get(each)}" for each in others if old.get(each) != new.get(each)),
    ]


def machine() -> dict[str, Any]:
    """Returns the facts about this machine and its Python."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "cores": cores.count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Returns the version of each installed distribution, by name."""
    found = {str(each.metadata["Name"]): str(each.version) for each in distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def repository(folder: Path) -> dict[str, Any] | None:
    """Returns root and commit of the git repository that a folder is in, and whether tracked files differ from it.

    None if there is none, it has no commit, or there is no git; `dirty` is null if git took too long.
    """
    found = _git(folder, "rev-parse", "--show-toplevel", "HEAD")
    if found is None or len(lines := found.splitlines()) != 2:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"root": lines[0], "commit": lines[1], "dirty": None if changes is None else bool(changes.strip())}


def _git(folder: Path, *words: str) -> str | None:
    # No optional lock, no monitor: looking at a repository must neither change it nor start what its settings name.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GIT_SECONDS, check=True
        )
        return done.stdout
    return None
