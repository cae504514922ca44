"""Keeps TensorFlow's start-up messages off the screen.

TensorFlow 2.21 logs to standard error before any of its settings are read, from C++, so only the file descriptor helps.
What was held back is shown if the start fails, and nothing is held back under TFSCALE_DEBUG.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tfscale.terminal import flush


@contextmanager
def hidden_startup_noise() -> Iterator[None]:
    """Holds back standard error while TensorFlow is imported and looks for its devices."""
    with quiet():
        yield
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")  # the CUDA libraries speak at the first look


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back standard error, and shows it after all if something fails."""
    if "TFSCALE_DEBUG" in os.environ:
        yield
        return
    flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            with suppress(OSError):
                os.write(kept, held.read())
            raise
        finally:
            flush()
            os.dup2(kept, 2)
            os.close(kept)
