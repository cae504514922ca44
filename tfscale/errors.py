"""Ends of a command: a mistake of the user, a failed run, and a run that ends early.

A mistake and a failed run have different exit codes (2 and 1), and their messages differ: what to type next, or what
broke. Any other exception is a bug and keeps its traceback.
"""

import re
import textwrap
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


_HEADERS = re.compile(
    r"Graph execution error:|in user code:|Detected at node|Exception encountered when calling|Traceback \(most recent"
    r"|\d+ root error\(s\) found|File \""
)
"""Lines that begin like this say nothing about what is wrong."""

_PREFIX = re.compile(r"\{\{function_node [^}]*\}\}\s*|\(\d+\) [A-Z_]+:\s*")
_SUFFIX = re.compile(r"\s*(\[\[\{\{node .*|\[Op:\w*\].*)$")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_KERAS_CAUSE = "Error encountered:"
"""Words before the cause where Keras could not infer the shape of a layer's output."""


def informative_line(error: BaseException) -> str:
    """First line of an exception's message that says what is wrong.

    TensorFlow begins its messages with "Graph execution error:" or "in user code:" and the stack of a node, Keras with
    the name of a layer; what is wrong comes after that.
    """
    text = _COLOR.sub("", str(error)).removeprefix("in user code:").rpartition(_KERAS_CAUSE)[2]
    for line in textwrap.dedent(text.strip("\n")).splitlines():
        stripped = _SUFFIX.sub("", _PREFIX.sub("", line.strip()))
        is_quoted = line[:1].isspace() and not _PREFIX.match(line.strip())
        if stripped and not is_quoted and not _HEADERS.match(stripped):
            return stripped
    return first_line(error)


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
