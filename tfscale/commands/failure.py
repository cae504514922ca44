"""What a process of a job does when it fails: writes down why, and shows it if it is the cause.

When a process dies, the others' collectives fail a moment later. The cause is what was written down first; the parent
that started the processes shows it, or, under another launcher, the process that had it.
"""

import os
import sys
import time
import traceback

from tfscale.collectives.horovod import is_collective_failure
from tfscale.errors import RunError, UserError
from tfscale.launch import run_directory
from tfscale.launch.run_directory import Failure, RunDirectory
from tfscale.world import World

CONSEQUENCE_WAIT = 1.0
"""Seconds in which another process may write down that it died first."""


def fail(error: Exception, world: World, directory: RunDirectory | None) -> int:
    """Records and reports a failure.

    Args:
        error: What was raised.
        world: Which process this is.
        directory: Of the run, if this process knows it yet.

    Returns:
        The exit code. A process among several does not return: Horovod's exit handler would wait for the others.
    """
    code = 2 if isinstance(error, UserError) else 1
    message = _message(error)
    started_by_us = run_directory.VARIABLE in os.environ
    consequence = is_collective_failure(error)
    if directory is not None:
        if consequence:
            time.sleep(CONSEQUENCE_WAIT)
        directory.record_failure(Failure(rank=world.rank, when=run_directory.now(), message=message, code=code))
        if code == 1:
            with directory.log(world.rank).open("a", encoding="utf-8") as stream:
                traceback.print_exception(error, file=stream)
    if not started_by_us:
        first = directory.first_failure() if directory is not None else None
        caused_here = first is None or first.rank == world.rank
        # What every rank finds alike is shown by one; what only one finds is shown by that one.
        if caused_here and (world.is_chief or not (consequence or isinstance(error, UserError))):
            print(
                f"tfscale: {f'rank {world.rank}: ' if world.size > 1 else ''}{message}",
                file=sys.stderr,
                flush=True,
            )
            if "TFSCALE_DEBUG" in os.environ:
                traceback.print_exception(error)
            elif code == 1 and directory is not None:
                print(f"tfscale: its traceback: {directory.log(world.rank)}", file=sys.stderr, flush=True)
    if code == 2 and world.is_chief and not started_by_us and directory is not None:
        directory.discard()
    if world.size > 1:
        sys.stdout.flush()
        os._exit(code)
    return code


def _message(error: Exception) -> str:
    if isinstance(error, UserError | RunError):
        return str(error)
    text = str(error).strip().splitlines()
    first = text[0][:300] if text else "no message"
    if is_collective_failure(error):
        return "a collective failed, because another process of the job has ended or cannot be reached"
    return f"{type(error).__name__}: {first}"
