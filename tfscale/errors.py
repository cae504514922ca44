"""The two ways a command ends badly, and one in which a run ends early.

A user's mistake and a failed run look different to a shell script (exit codes 2 and 1) and to a person (what to type
next, against what broke). Everything else is a bug and keeps its traceback.
"""

from collections.abc import Sequence

HOROVOD_MISSING = (
    "this strategy exchanges tensors between processes, and Horovod is not installed for this TensorFlow; build it "
    "with `python -m tfscale.scripts.build.horovod` (needs a C++ compiler, cmake and make), or train in one process "
    "with strategy=local or strategy/collective=in_process"
)


def first_line(error: BaseException) -> str:
    """What an exception says, in one line: its first, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


LONGEST = 600
"""Characters of a problem, at most: it may quote a value of any length."""

MOST = 15
"""Problems that are told at once."""


class UserError(Exception):
    """What the user gave is wrong: exit code 2, no traceback.

    Args:
        problems: One message each: key, rule, value, what to type next.
    """

    def __init__(self, *problems: str) -> None:
        told = [_shortened(problem) for problem in problems[:MOST]]
        if len(problems) > MOST:
            told.append(f"and {len(problems) - MOST} more problems like these")
        super().__init__("\n".join(told))
        self.problems: Sequence[str] = told


def _shortened(words: str) -> str:
    """In one line, without its middle if it is long, and without what a terminal would obey."""
    plain = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in words)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]} ... {plain[-LONGEST // 2 :]}"


class Enough(Exception):
    """The run is to end here, well; the message says why."""


class RunError(Exception):
    """A run failed for a reason that the message says in full: exit code 1, no traceback."""


class ExchangeError(RunError):
    """What replicas exchanged was changed on the way, or they have drifted apart; nothing of it was used or saved.

    The job can be started again.
    """
