"""Cause of an exception for the user: the first line that informs, and the innermost line of the user's own code.

The line to mend is rarely the innermost: it is the innermost outside of tfscale and of installed packages, in the
traceback or in a stack that the message quotes.
"""

import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from tfscale.errors import informative_line

MAX_LENGTH = 300
"""Characters of a message."""

_EMBEDDED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Warning|Exit|Interrupt): ")
"""Beginning of the message of a Python exception that another one carries."""

_QUOTED = re.compile(r'File "([^"]+)", line (\d+)')
_FOLDERS = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
_INSTALLED = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in _FOLDERS})
_OURS = str(Path(__file__).resolve().parent.parent)


def describe(error: BaseException) -> str:
    """Returns "Type: message (file:line)"; without the parenthesis if no line of the user's code is known."""
    message = informative_line(error)[:MAX_LENGTH]
    if not _EMBEDDED.match(message) and message != type(error).__name__:
        message = f"{type(error).__name__}: {message}"
    line = user_line(error)
    return message if line is None else f"{message} ({line})"


def user_line(error: BaseException) -> str | None:
    """Innermost line of the user's own code, as file:line; None if there is none."""
    lines = [f"{_shown(path)}:{number}" for path, number in _lines(error) if _is_users(path)]
    return lines[-1] if lines else None


def _lines(error: BaseException) -> Iterator[tuple[str, int]]:
    """Lines of code from the outermost to the innermost: of the traceback, then of stacks that the message quotes."""
    for frame, number in traceback.walk_tb(error.__traceback__):
        yield frame.f_code.co_filename, number
    for path, number in _QUOTED.findall(str(error)):
        yield path, int(number)


def _is_users(path: str) -> bool:
    if path.startswith("<") or "__autograph_generated_file" in path:
        return False
    spellings = (str(Path(path).absolute()), str(Path(path).resolve()))
    return not any(each.startswith(f"{folder}/") for each in spellings for folder in (*_INSTALLED, _OURS))


def _shown(path: str) -> Path:
    """The path relative to the current folder, where it lies in it."""
    resolved, here = Path(path).resolve(), Path.cwd()
    return resolved.relative_to(here) if resolved.is_relative_to(here) else resolved
