"""Runs a command of tfscale in a process of its own, and turns its end into an exception."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tfscale.errors import RunError, UserError

COMMAND = (sys.executable, "-P", "-m", "tfscale")
"""Beginning of a command. -P: modules in the working folder must not replace installed ones."""

PREFIX = "tfscale: "
"""Of the messages of a command."""


def run_command(words: Sequence[str], environment: Mapping[str, str], *, progress: bool) -> None:
    """Runs a command to its end.

    Raises:
        UserError: Its input is wrong.
        RunError: It failed, or was stopped.
        KeyboardInterrupt: This process was interrupted; the command has ended.
    """
    process = subprocess.Popen(
        [*COMMAND, *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []
    with process:
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip("\n"))
                if progress:
                    print(line, end="", flush=True)
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)  # the run saves a checkpoint
            try:
                process.communicate()
            except BaseException:
                process.kill()
                raise
            raise
    if code:
        problems = _last_problems(lines)
        raise UserError(*problems) if code == 2 else RunError(problems[-1] if problems else f"exit code {code}")


def _last_problems(lines: Sequence[str]) -> list[str]:
    """Returns the messages at the end of what a command has printed; the last line if there is none."""
    found = [*itertools.takewhile(lambda line: line.startswith(PREFIX), reversed(lines))]
    return [line.removeprefix(PREFIX) for line in reversed(found)] or [*lines[-1:]]
