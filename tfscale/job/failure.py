"""Failure of a rank: recorded, and shown if it is the cause.

When a process dies, the collectives of the others fail a moment later. The failure recorded first is the cause. The
parent that started the processes shows it; under another launcher one process does: the one that failed first, or the
chief if all failed for the same reason.
"""

import os
import re
import sys
import time
import traceback
from contextlib import suppress

from tfscale.collectives.horovod import is_collective_failure
from tfscale.errors import ExchangeError, RunError, UserError
from tfscale.job import cause
from tfscale.runs.run_directory import Failure, RunDirectory, started_by_us
from tfscale.supervision import attempt
from tfscale.terminal import flush, logger
from tfscale.world import World

CORRUPT = re.compile(r"(?<=tfscale: )(?:the (?:message|parameters) of rank|a bundle) [^\n\"\]]*")
"""Message of an operation that has refused a corrupt message, or has found that replicas differ; see
compression/message.py and collectives/consistency.py."""

WAIT = 1.0
"""Seconds in which another process may record an earlier failure, or the same."""


def fail(error: BaseException, world: World, directory: RunDirectory | None) -> int:
    """Records and reports a failure.

    Args:
        error: The exception.
        world: Identity of this process.
        directory: Run directory, if this process knows it already.

    Returns:
        The exit code. A process among several does not return: Horovod's exit handler would wait for the others.
    """
    code = 2 if isinstance(error, UserError) else 1
    is_corrupt = isinstance(error, ExchangeError) or CORRUPT.search(str(error)) is not None
    retryable = is_collective_failure(error) or is_corrupt
    failure = Failure(
        rank=world.rank,
        restarts=attempt.restarts(),
        when=time.time(),
        message=_message(error),
        code=code,
        retryable=retryable,
    )
    shown = False
    if directory is not None:
        if is_collective_failure(error) or (code == 2 and not world.is_chief):
            time.sleep(WAIT)
        # The chief removes a run that could not begin, after it has shown why.
        shown = not directory.path.is_dir() or directory.first_failure(failure.restarts) is not None
        if directory.path.is_dir():
            with suppress(OSError), directory.log(world.rank).open("a", encoding="utf-8") as stream:
                traceback.print_exception(error, file=stream)
            if "TFSCALE_DEBUG" in os.environ and started_by_us() and world.is_chief:
                traceback.print_exception(error, file=sys.stdout)  # the terminal: standard error is the log
            with suppress(OSError):  # a full disk: the exit code still says that it failed
                directory.record_failure(failure)
    if not started_by_us() and not shown and (directory is not None or world.is_chief):
        _show(failure, error, world, directory)
    if code == 2 and directory is not None:
        directory.discard()
    if world.size > 1:
        flush()
        os._exit(code)
    return code


def _show(failure: Failure, error: BaseException, world: World, directory: RunDirectory | None) -> None:
    who = f"rank {failure.rank}: " if world.size > 1 else ""
    logger.error(f"{who}{failure.message}")
    if "TFSCALE_DEBUG" in os.environ:
        traceback.print_exception(error)
    elif failure.code == 1 and directory is not None and not isinstance(error, RunError):
        logger.info(f"its traceback: {directory.log(failure.rank)}")


def _message(error: BaseException) -> str:
    if isinstance(error, UserError | RunError):
        return str(error)
    if is_collective_failure(error):
        return "a collective failed, because another process of the job has ended or cannot be reached"
    corrupt = CORRUPT.search(str(error))
    if corrupt:
        return f"{corrupt.group()}; nothing of it was applied"
    if isinstance(error, SystemExit | GeneratorExit | KeyboardInterrupt):
        return f"{cause.describe(error)}: this code ended its process; it must return, or raise an error"
    return cause.describe(error)
