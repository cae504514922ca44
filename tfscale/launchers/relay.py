"""Relay of a rank's output to a standard output of Python that is no descriptor, as in a notebook.

A rank writes to descriptors. Where the parent's `sys.stdout` is an object of a notebook, descriptor 1 is the log of the
server that nobody reads: the rank then writes into a pipe, and a thread of the parent copies that to `sys.stdout`.
"""

import codecs
import os
import sys
from contextlib import suppress
from threading import Thread
from typing import IO, final

from tfscale.terminal import writes_to

DRAIN_SECONDS = 5.0
"""Seconds to wait for the end of the output, which a process that has outlived its rank may hold open."""


@final
class Relay:
    """Copies what is written to `output` to `sys.stdout`, if that is no descriptor.

    Attributes:
        output: Pipe for a rank to write to; None if it can write to descriptor 1.
    """

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._reader = -1
        self.output: IO[bytes] | None = None
        if not writes_to(sys.stdout, 1):
            self._reader, writer = os.pipe()
            self.output = os.fdopen(writer, "wb", buffering=0)

    def start(self) -> None:
        """Begins to copy; call it once all ranks have been forked, as it starts a thread."""
        if self.output is not None:
            self.output.close()
            self._thread = Thread(target=self._copy, name="relay", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Copies the rest; call it once the ranks have ended."""
        if self._thread is not None:
            self._thread.join(DRAIN_SECONDS)
        elif self.output is not None:
            self.output.close()
            os.close(self._reader)

    def _copy(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while content := os.read(self._reader, 1 << 16):
            with suppress(OSError, ValueError, AttributeError):
                sys.stdout.write(decoder.decode(content))
                sys.stdout.flush()
        os.close(self._reader)
