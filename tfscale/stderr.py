"""What tfscale says to whoever has started it: lines on standard error, which nothing depends on."""

import sys
from contextlib import suppress


def say(words: str) -> None:
    """One line, if it can be said: standard error may be closed, or a file on a disk that is full."""
    with suppress(OSError, ValueError):
        print(f"tfscale: {words}", file=sys.stderr, flush=True)
