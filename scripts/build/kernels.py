"""Compiles tfscale's native kernels for the TensorFlow that this Python has.

usage: python -m tfscale.scripts.build.kernels [--rebuild]

The library goes into the user's cache; see tfscale/kernels/library.py for its name. One source file, some ten seconds.
On x86-64 the compiler makes the hot functions for several generations of processors and the right one is taken at run
time, so a library built on one machine of a cluster serves the others.

Needs: a C++17 compiler (CXX names another than c++), and TensorFlow installed in this Python.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tfscale.kernels import library

FLAGS_PROGRAM = (
    "import json, tensorflow as tf; s = tf.sysconfig; print(json.dumps([s.get_compile_flags(), s.get_link_flags()]))"
)
"""Run apart, so that this process is not the one that TensorFlow talks into."""

TIMEOUT = 600
"""Seconds for each of TensorFlow's answer and the compiler."""


def tensorflow_flags() -> tuple[list[str], list[str]]:
    """What the compiler and the linker need to know, the same ABI included."""
    import json

    done = subprocess.run(
        [sys.executable, "-c", FLAGS_PROGRAM], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stderr[-2000:]}\nbuild_kernels: TensorFlow cannot be imported; its output is above")
    compile_flags, link_flags = json.loads(done.stdout.splitlines()[-1])
    return compile_flags, link_flags


def build(target: Path) -> None:
    """Compiles into `target`; all or nothing."""
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        sys.exit(f"build_kernels: {compiler} not found; type: apt-get install g++ (or your system's C++ compiler)")
    compile_flags, link_flags = tensorflow_flags()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary)
        for name, text in library.sources().items():
            (folder / name).write_bytes(text)
        made = folder / target.name
        command = [compiler, *library.FLAGS, *compile_flags, str(folder / library.SOURCE), "-o", str(made), *link_flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            sys.exit(f"{done.stderr[-4000:]}\nbuild_kernels: {compiler} failed; its output is above")
        os.replace(made, target)


def main() -> None:
    """Compiles unless the library is there."""
    parser = argparse.ArgumentParser(description="Compiles tfscale's native kernels for the installed TensorFlow.")
    parser.add_argument("--rebuild", action="store_true", help="compile even if the library is in the cache")
    rebuild = parser.parse_args().rebuild
    if library.tensorflow_version() is None:
        sys.exit(f"build_kernels: {sys.executable} has no TensorFlow; type: {sys.executable} -m pip install tensorflow")
    target = library.path()
    if rebuild or not target.is_file():
        build(target)
    print(f"kernels for TensorFlow {library.tensorflow_version()}: {target}")


if __name__ == "__main__":
    main()
