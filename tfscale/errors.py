"""Ends of a command: a mistake of the user, a failed run, and a run that ends early.

A mistake and a failed run have different exit codes (2 and 1), and their messages differ: what to type next, or what
broke. Any other exception is a bug and keeps its traceback.
"""

from collections.abc import Sequence

HOROVOD_MISSING = (
    "this strategy exchanges tensors between processes, and Horovod is not installed for this TensorFlow; build it "
    "with `python -m tfscale.scripts.build.horovod` (needs a C++ compiler, cmake and make), or train in one process "
    "with strategy=local or strategy/collective=in_process"
)


def first_line(error: BaseException) -> str:
    """First line of an exception's message, or its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


MAX_LENGTH = 600
"""Characters of a problem: it may quote a value of any length."""

MAX_PROBLEMS = 15
"""Problems of one error that are listed."""


class UserError(Exception):
    """A mistake of the user: exit code 2, no traceback.

    Args:
        problems: One message each: key, rule, value got, what to type next.
    """

    def __init__(self, *problems: str) -> None:
        listed = [_printable(problem) for problem in problems[:MAX_PROBLEMS]]
        if len(problems) > MAX_PROBLEMS:
            listed.append(f"and {len(problems) - MAX_PROBLEMS} more problems like these")
        super().__init__("\n".join(listed))
        self.problems: Sequence[str] = listed


def _printable(problem: str) -> str:
    """Returns the problem on one line, control characters escaped, its middle left out if it is long."""
    plain = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in problem)
    return plain if len(plain) <= MAX_LENGTH else f"{plain[: MAX_LENGTH // 2]} ... {plain[-MAX_LENGTH // 2 :]}"


class EarlyEnd(Exception):
    """The run ends well before its last step; the message says why."""


class RunError(Exception):
    """A run failed, and the message says why in full: exit code 1, no traceback."""


class ExchangeError(RunError):
    """A message was corrupt, or replicas differ that must be equal; nothing of it was applied or saved.

    A restart of the job may succeed.
    """
