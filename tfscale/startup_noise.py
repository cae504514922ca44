"""Suppression of TensorFlow's start-up messages.

TensorFlow 2.21 logs to standard error from C++ before it reads any of its settings, so only the file descriptor helps.
The messages are shown if the start fails, and always under TFSCALE_DEBUG. This is a module of its own, apart from
`terminal`, because it imports TensorFlow.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tfscale.terminal import flush


@contextmanager
def hidden_startup_noise() -> Iterator[None]:
    """Holds standard error back while TensorFlow is imported and looks for its devices."""
    with hidden_stderr():
        yield
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")  # the CUDA libraries log at the first look


@contextmanager
def hidden_stderr() -> Iterator[None]:
    """Holds standard error back; shows it if the block raises."""
    if "TFSCALE_DEBUG" in os.environ:
        yield
        return
    flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            with suppress(OSError):
                os.write(stderr, held_back.read())
            raise
        finally:
            flush()
            os.dup2(stderr, 2)
            os.close(stderr)
