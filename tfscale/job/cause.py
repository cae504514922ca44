"""Cause of an exception for the user: the first line that informs, and the innermost line of the user's own code.

TensorFlow begins its messages with "Graph execution error:" and the stack of a node, Keras with the name of a layer;
what is wrong comes after that. The line to mend is rarely the innermost: it is the innermost outside of tfscale and of
installed packages, in the traceback or in a stack that the message quotes.
"""

import re
import sysconfig
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path

from tfscale.errors import first_line

MAX_LENGTH = 300
"""Characters of a message."""

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

_EMBEDDED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Warning|Exit|Interrupt): ")
"""Beginning of the message of a Python exception that another one carries."""

_QUOTED = re.compile(r'File "([^"]+)", line (\d+)')
_FOLDERS = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
_INSTALLED = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in _FOLDERS})
_OURS = str(Path(__file__).resolve().parent.parent)


def describe(error: BaseException) -> str:
    """Returns "Type: message (file:line)"; without the parenthesis if no line of the user's code is known."""
    message = _informative_line(error)[:MAX_LENGTH]
    if not _EMBEDDED.match(message) and message != type(error).__name__:
        message = f"{type(error).__name__}: {message}"
    line = user_line(error)
    return message if line is None else f"{message} ({line})"


def user_line(error: BaseException) -> str | None:
    """Innermost line of the user's own code, as file:line; None if there is none."""
    lines = [f"{_shown(path)}:{number}" for path, number in _lines(error) if _is_users(path)]
    return lines[-1] if lines else None


def _informative_line(error: BaseException) -> str:
    text = _COLOR.sub("", str(error)).removeprefix("in user code:").rpartition(_KERAS_CAUSE)[2]
    for line in textwrap.dedent(text.strip("\n")).splitlines():
        stripped = _SUFFIX.sub("", _PREFIX.sub("", line.strip()))
        is_quoted = line[:1].isspace() and not _PREFIX.match(line.strip())
        if stripped and not is_quoted and not _HEADERS.match(stripped):
            return stripped
    return first_line(error)


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
