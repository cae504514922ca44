"""Output of tfscale while it trains: the logger, and streams that outlive whoever reads them.

No run depends on its output: the disk may be full, the reader gone, the stream closed or missing. Errors of writing are
dropped; everything else is the standard library's `logging`.
"""

import io
import logging
import os
import sys
from contextlib import suppress
from typing import Any, Literal, TextIO, final

_WRITE_ERRORS = (OSError, ValueError, AttributeError)
"""Errors of a stream that cannot be written to, is closed, or is None."""


@final
class TerminalHandler(logging.Handler):
    """Writes a record as one line to the standard error of the moment, and drops it where that fails."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        with suppress(*_WRITE_ERRORS):
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()


def _logger() -> logging.Logger:
    logger = logging.getLogger("tfscale")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # handlers of the root, as absl's, would print each line again
    if not any(isinstance(handler, TerminalHandler) for handler in logger.handlers):
        handler = TerminalHandler()
        handler.setFormatter(logging.Formatter("tfscale: %(message)s"))
        logger.addHandler(handler)
    return logger


logger = _logger()
"""Logger of messages for the user: "tfscale: ..." on standard error."""


@final
class RobustStream(io.TextIOWrapper):
    """Text stream that writes at once and drops what cannot be written.

    Args:
        raw: Unbuffered stream of bytes.
        encoding: Encoding of the text.
        errors: Treatment of characters that the encoding lacks.
    """

    def __init__(self, raw: io.FileIO, *, encoding: str = "utf-8", errors: str | None = None) -> None:
        super().__init__(raw, encoding=encoding, errors=errors, write_through=True)

    def write(self, text: str, /) -> int:
        """Writes the text, or drops it."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, as far as possible."""
        with suppress(OSError):
            super().flush()


def open_standard_streams() -> None:
    """Opens /dev/null on each of the descriptors 0 to 2 that is closed; call it first in a program.

    Otherwise the next file that is opened becomes the standard error of a process that writes its log there.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) != descriptor:  # the lowest that is free, by POSIX
                raise
            os.set_inheritable(descriptor, True)
            stream = open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def writes_to(stream: TextIO | None, descriptor: int) -> bool:
    """Returns whether a stream of Python writes to this descriptor; those of notebooks and tests do not."""
    try:
        return stream is not None and stream.fileno() == descriptor
    except (OSError, ValueError, AttributeError):
        return False


def own_streams() -> None:
    """Gives a forked process streams on its descriptors 1 and 2, in place of the objects of its parent.

    Streams of a notebook send messages from a thread that the fork does not have.
    """
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        _parents_streams.append(getattr(sys, name))
        encoding = getattr(getattr(sys, f"__{name}__"), "encoding", None) or "utf-8"
        raw = io.FileIO(descriptor, "wb", closefd=False)
        setattr(sys, name, RobustStream(raw, encoding=encoding, errors="replace"))


_parents_streams: list[Any] = []
"""Streams of the parent of a fork, kept: closing them would run their code."""


def survive_write_errors(name: Literal["stdout", "stderr"]) -> None:
    """Replaces Python's own stream of this name by a robust one; leaves a stream that somebody else has set alone."""
    stream = getattr(sys, name)
    if stream is None or stream is not getattr(sys, f"__{name}__"):
        return
    with suppress(*_WRITE_ERRORS):
        stream.flush()
    with suppress(*_WRITE_ERRORS):
        raw = io.FileIO(stream.fileno(), "wb", closefd=False)
        setattr(sys, name, RobustStream(raw, encoding=stream.encoding, errors=stream.errors))


def flush() -> None:
    """Flushes both standard streams, as far as possible."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(*_WRITE_ERRORS):
            stream.flush()
