"""Exports that die at given places, each in a fork of one process that has imported TensorFlow, but not used it.

usage: python -m tests.support.killed_exports FOLDER FUNCTION:CALL ..., which exports to FOLDER/FUNCTION:CALL and exits
without cleaning up at that call of the function.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

CODE = 77
"""Exit code of a fork that died at its place."""


def dying(function: Callable, calls: int) -> Callable:
    """Returns the function, which ends the process at its n-th call."""
    left = calls

    def call(*arguments: object) -> object:
        nonlocal left
        left -= 1
        if not left:
            os._exit(CODE)
        return function(*arguments)

    return call


def _die(place: str, folder: Path) -> None:
    from tests.support.shards import mixed, shards
    from tfscale import atomic_file
    from tfscale.data import shard_writer

    name, _, calls = place.partition(":")
    if name == "framed":
        shard_writer.framed = dying(shard_writer.framed, int(calls))
    elif name == "replace":
        atomic_file.replace = dying(atomic_file.replace, int(calls))
    else:
        os.rename = dying(os.rename, int(calls))
    shards(mixed(), folder / place, size=15)


def main() -> None:
    """Runs all places, one after the other."""
    from tests.support import shards  # noqa: F401 - for the forks

    folder = Path(sys.argv[1])
    for place in sys.argv[2:]:
        pid = os.fork()
        if pid == 0:
            try:
                _die(place, folder)
            finally:
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
