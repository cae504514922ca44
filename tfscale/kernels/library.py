"""Where the compiled kernels are, and whether they can be used.

They are compiled by `scripts/build/kernels.py` for the installed TensorFlow and kept in the user's cache, under a name
made of everything that they depend on: a new TensorFlow or a changed source never meets an old library. Without them
the plain TensorFlow operations compute the same bits, some five times slower.
"""

import functools
import hashlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

BUILD = "python -m tfscale.scripts.build.kernels"
SOURCE = "sharing.cc"
FLAGS = ("-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-trapping-math", "-fno-strict-aliasing", "-w")
"""No contraction: a fused multiply-add would not give the bits of the plain operations. Whole numbers are kept for a
while where floats belong, so types do not tell what can be aliased."""


def tensorflow_version() -> str | None:
    """Of the installed TensorFlow, without importing it; None if there is none."""
    for package in ("tensorflow", "tensorflow-cpu", "tf-nightly"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def sources() -> dict[str, bytes]:
    """The sources by name."""
    folder = Path(__file__).parent
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".cc", ".h")}


def path() -> Path:
    """Where the library for these sources, this TensorFlow and this machine is kept, whether it is there or not."""
    total = hashlib.sha256(repr((FLAGS, tensorflow_version(), platform.machine(), sys.platform)).encode())
    for name, text in sources().items():
        total.update(name.encode() + text)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tfscale" / "kernels" / f"sharing-tf{tensorflow_version()}-{total.hexdigest()[:16]}.so"


@functools.cache
def load() -> ModuleType | None:
    """The operations, or None if they are not built.

    Raises:
        OSError: The library is there but cannot be loaded: it is damaged.
    """
    if not path().is_file():
        return None
    import tensorflow as tf

    try:
        return tf.load_op_library(str(path()))
    except tf.errors.OpError as error:
        raise OSError(f"{path()} cannot be loaded ({error}); type: {BUILD} --rebuild") from error
