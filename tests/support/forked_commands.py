"""`tfscale` commands in forks of one process that has imported TensorFlow, each as in a process of its own.

usage: python -m tests.support.forked_commands, which reads a JSON list of words, folder, environment, output file and
function to call before a line, and answers with an exit code a line.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


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

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], before: str | None = None
    ) -> tuple[int, str]:
        """Runs a command; returns its exit code and what it printed.

        Args:
            words: The command line without the program's name.
            folder: Where it runs.
            environment: Its environment variables.
            before: module:function that is called in the fork before the command; None for nothing.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        with tempfile.NamedTemporaryFile() as output:
            asked = [list(words), str(folder), dict(environment), output.name, before]
            print(json.dumps(asked), file=process.stdin, flush=True)
            return int(process.stdout.readline()), output.read().decode()


def _serve() -> None:
    from tfscale.startup_noise import hidden_stderr

    with hidden_stderr():
        from tfscale.job import evaluate, train  # noqa: F401 - for the forks
    for line in sys.stdin:
        words, folder, environment, output, before = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(words, folder, environment, output, before)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(words: list[str], folder: str, environment: dict[str, str], output: str, before: str | None) -> None:
    """Runs the command in this process, which is a fork, and ends it."""
    code = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY | os.O_APPEND)):
            os.dup2(os.open(path, flags), number)
        os.dup2(1, 2)
        from tfscale import cli

        if before is not None:
            module, _, function = before.partition(":")
            getattr(importlib.import_module(module), function)()
        code = cli.main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - the caller gets an exit code and the traceback
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
