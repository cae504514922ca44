"""Command lines that messages print, to go on with a run: they work as printed, whatever the run is called."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from tfscale.config.overrides import shell_word


def command(name: str, run: Path, trust: Sequence[str], *more: str, by_key: bool = False) -> str:
    """The command line, for a shell in the current folder.

    Args:
        name: The command: evaluate, resume.
        run: The run directory.
        trust: Modules that the run's configuration names.
        more: Further words, already quoted.
        by_key: Whether the run is named as run=NAME.
    """
    folder = run.parent
    words = [] if folder in (Path("runs"), Path("runs").absolute()) else [shell_word("run.dir", str(folder))]
    words += [shell_word("trust", f"[{','.join(trust)}]")] if trust else []
    named = shell_word("run", run.name) if by_key else shlex.quote(run.name)
    return " ".join(["tfscale", name, named, *words, *more])
