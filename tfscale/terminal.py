"""Output of tfscale while it trains: the logger, and streams that outlive whoever reads them.

No run depends on its output: the disk may be full, the reader gone, the stream closed or missing. Errors of writing are
dropped; everything else is the standard library's `logging`.
"""

import io
import logging
import sys
from contextlib import suppress
from typing import Literal, final

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
