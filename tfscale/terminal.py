"""What tfscale says while it trains, which nothing depends on: a disk may be full, or whoever listened be gone."""

import io
import sys
from contextlib import suppress
from typing import Literal, final

_FAILURES = (OSError, ValueError, AttributeError)
"""Of a stream that cannot be written to, is closed, or is not there at all."""


@final
class RobustStream(io.TextIOWrapper):
    """Text that is written at once, as far as that can be.

    Args:
        raw: Takes bytes, without a buffer.
        encoding: As of any text.
        errors: What to do with letters that have no place in it.
    """

    def __init__(self, raw: io.FileIO, *, encoding: str = "utf-8", errors: str | None = None) -> None:
        super().__init__(raw, encoding=encoding, errors=errors, write_through=True)

    def write(self, text: str, /) -> int:
        """Writes, or does not."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Likewise."""
        with suppress(OSError):
            super().flush()


def survive_write_errors(name: Literal["stdout", "stderr"]) -> None:
    """From here on, what is written to this stream of Python's own is written as far as that can be."""
    stream = getattr(sys, name)
    if stream is None or stream is not getattr(sys, f"__{name}__"):
        return
    with suppress(*_FAILURES):
        stream.flush()
    with suppress(*_FAILURES):
        raw = io.FileIO(stream.fileno(), "wb", closefd=False)
        setattr(sys, name, RobustStream(raw, encoding=stream.encoding, errors=stream.errors))


def say(words: str) -> None:
    """One line on standard error."""
    with suppress(*_FAILURES):
        print(f"tfscale: {words}", file=sys.stderr, flush=True)


def flush() -> None:
    """Both standard streams, as far as that can be."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(*_FAILURES):
            stream.flush()
