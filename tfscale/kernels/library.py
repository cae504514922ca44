"""The compiled kernels: their place in the user's cache, and whether they can be used.

`scripts/build/kernels.py` compiles them for the installed TensorFlow. Their file's name is a digest of everything that
they depend on, so a new TensorFlow or a changed source never loads an old library. Without them the reference backend
computes the same bits, some five times slower.
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
FLAGS = ("-O3", "-fPIC", "-ffp-contract=off", "-fno-trapping-math", "-fno-strict-aliasing", "-w")
"""Compiler flags. No contraction: a fused multiply-add would not give the bits of the reference backend. Integers are
kept for a while in the memory of floats, so types do not tell the compiler what can be aliased."""


class CacheError(Exception):
    """The cache of the kernels cannot be looked up."""


def tensorflow_version() -> str | None:
    """Version of the installed TensorFlow, without importing it; None if there is none."""
    for package in ("tensorflow", "tensorflow-cpu", "tf-nightly"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def sources() -> dict[str, bytes]:
    """The contents of all source files, by name."""
    folder = Path(__file__).parent
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".cc", ".h")}


def path() -> Path:
    """The place of the library for these sources, this TensorFlow and this machine, built or not.

    Raises:
        CacheError: There is no home folder, and XDG_CACHE_HOME is not set.
    """
    total = hashlib.sha256(repr((FLAGS, tensorflow_version(), platform.machine(), sys.platform)).encode())
    for name, text in sources().items():
        total.update(name.encode() + text)
    return _cache() / "tfscale" / "kernels" / f"kernels-tf{tensorflow_version()}-{total.hexdigest()[:16]}.so"


def _cache() -> Path:
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise CacheError(f"this user has no home folder ({error}); set HOME or XDG_CACHE_HOME") from error


def find() -> Path | None:
    """The library's path if it is built, else None.

    Raises:
        CacheError: The folder cannot be searched.
    """
    library = path()
    try:
        library.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CacheError(f"{library.parent}: {error.strerror}; set XDG_CACHE_HOME to a readable folder") from error
    return library


@functools.cache
def load() -> ModuleType | None:
    """The operations; None if they are not built or cannot be looked up, which is then said once, on stderr.

    Raises:
        OSError: The library is damaged.
    """
    try:
        library = find()
    except CacheError as error:
        consequence = "the reference backend computes the same bits, more slowly"
        print(f"tfscale: the native kernels cannot be looked up: {error}; {consequence}", file=sys.stderr)
        return None
    if library is None:
        return None
    import tensorflow as tf

    try:
        return tf.load_op_library(str(library))
    except tf.errors.OpError as error:
        raise OSError(f"{library} cannot be loaded ({error}); type: {BUILD} --rebuild") from error
