"""`tfscale` commands in forks of one process that has imported TensorFlow, each as in a process of its own.

usage: python -m tests.support.forked_commands, which reads a JSON list of words, folder, environment, and files for
output and errors a line, and answers with an exit code a line.
"""

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent.parent
LAUNCH = "launch"
"""The command that runs lines of Python in a number of ranks; tfscale has none of this name."""

BEFORE = "TFSCALE_TEST_BEFORE"
"""Environment variable: module:function that is called in the fork before the command."""

LIMIT = 240
"""Seconds after which a command is killed."""


@cache
def forked() -> "ForkedCommands":
    """The process of this worker, for all tests that need no other; it ends with the worker."""
    commands = ForkedCommands(ROOT)
    atexit.register(commands.close)
    return commands


class ForkedCommands:
    """Starts the process at the first command, and ends it with the context.

    Args:
        root: Of the repository whose code runs.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate(timeout=60)

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forked_commands"],
                cwd=self._root,
                env={**os.environ, "PYTHONPATH": str(self._root)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process

    def run(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
        """Runs a command; returns its exit code and what it printed."""
        with tempfile.NamedTemporaryFile() as output:
            code = self._ask(words, folder, environment, output.name, output.name)
            return code, output.read().decode()

    def completed(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command as `subprocess.run` does, with output and errors apart."""
        with tempfile.NamedTemporaryFile() as output, tempfile.NamedTemporaryFile() as errors:
            code = self._ask(words, folder, environment, output.name, errors.name)
            return subprocess.CompletedProcess(list(words), code, output.read().decode(), errors.read().decode())

    def _ask(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], *files: str) -> int:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        print(json.dumps([list(words), str(folder), dict(environment), *files]), file=process.stdin, flush=True)
        return int(process.stdout.readline())


def _serve() -> None:
    from tfscale.startup_noise import hidden_stderr

    with hidden_stderr():
        from tfscale.job import evaluate, export, predict, train  # noqa: F401 - for the forks
    for line in sys.stdin:
        words, folder, environment, *files = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.alarm(LIMIT)
            _become(words, folder, environment, *files)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(words: list[str], folder: str, environment: dict[str, str], output: str, errors: str) -> None:
    """Runs the command in this process, which is a fork, and ends it."""
    code = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        append = os.O_WRONLY | os.O_APPEND
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, output, append), (2, errors, append)):
            os.dup2(os.open(path, flags), number)
        if BEFORE in environment:
            module, _, function = environment[BEFORE].partition(":")
            getattr(importlib.import_module(module), function)()
        code = _run(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - the caller gets an exit code and the traceback
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(words: list[str]) -> int:
    from tfscale import cli

    return _launch(*words[1:]) if words[0] == LAUNCH else cli.main(words)


def _launch(code: str, processes: str) -> int:
    """Runs lines of Python in the ranks of a job, whose logs are in the working folder."""
    from tfscale.launchers.local import LocalLauncher
    from tfscale.launchers.spawn import spawn_fork
    from tfscale.runs.run_directory import RunDirectory
    from tfscale.supervision.attempt import Attempt

    def rank() -> int:
        exec(compile(code, "<rank>", "exec"), {"__name__": "__main__"})
        return 0

    spawn, directory = spawn_fork(rank), RunDirectory(Path.cwd())
    launcher = LocalLauncher(lambda attempt: spawn, directory=directory, start_timeout=60, interface=None)
    return launcher.run(Attempt(processes=int(processes))).code


if __name__ == "__main__":
    _serve()
