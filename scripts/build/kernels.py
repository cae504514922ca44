"""Compiles tfscale's native kernels for the TensorFlow that this Python has.

usage: python -m tfscale.scripts.build.kernels [--rebuild] [--test FILE]

The library goes into the user's cache; see tfscale/kernels/library.py for its name. Three sources are compiled side by
side, some ten seconds each. On x86-64 the compiler makes the hot functions for several generations of processors and
the right one is taken at run time, so a library built on one machine of a cluster serves the others.

With --test, a C++ program that includes the algorithms' headers is compiled without TensorFlow and run.

Needs: a C++17 compiler (CXX names another than c++), and TensorFlow installed in this Python.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfscale.kernels import library

FLAGS_PROGRAM = (
    "import json, tensorflow as tf; s = tf.sysconfig; print(json.dumps([s.get_compile_flags(), s.get_link_flags()]))"
)
"""Runs in a process of its own, so that TensorFlow prints nothing into this one's output."""

STANDARD = "-std=c++17"
"""Of programs without TensorFlow, whose own flags name one."""

TIMEOUT = 600
"""Seconds for each of TensorFlow's answer, the compiler and a test."""


def compiler() -> str:
    """The C++ compiler's command; exits if it is not installed."""
    command = os.environ.get("CXX", "c++")
    if shutil.which(command) is None:
        sys.exit(f"build_kernels: {command} not found; type: apt-get install g++ (or your system's C++ compiler)")
    return command


def tensorflow_flags() -> tuple[list[str], list[str]]:
    """TensorFlow's flags for the compiler and for the linker, its ABI among them."""
    done = subprocess.run(
        [sys.executable, "-c", FLAGS_PROGRAM], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stderr[-2000:]}\nbuild_kernels: TensorFlow cannot be imported; its output is above")
    compile_flags, link_flags = json.loads(done.stdout.splitlines()[-1])
    return compile_flags, link_flags


def _run_all(commands: Sequence[Sequence[str]]) -> None:
    """Runs the compiler's commands side by side; exits with its output if one fails."""
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        outputs = [process.communicate(timeout=TIMEOUT)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    for process, output in zip(running, outputs, strict=True):
        if process.returncode:
            sys.exit(f"{output[-4000:]}\nbuild_kernels: {commands[0][0]} failed; its output is above")


def build(target: Path) -> None:
    """Compiles into `target`; all or nothing."""
    command = compiler()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(
            f"build_kernels: {error.filename}: {error.strerror}; set XDG_CACHE_HOME to a folder that can be written"
        )
    compile_flags, link_flags = tensorflow_flags()
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary)
        for name, text in library.sources().items():
            (folder / name).write_bytes(text)
        sources = sorted(folder.glob("*.cc"))
        objects = [source.with_suffix(".o") for source in sources]
        _run_all(
            [
                [command, *library.FLAGS, *compile_flags, "-c", str(source), "-o", str(made)]
                for source, made in zip(sources, objects, strict=True)
            ]
        )
        made = folder / target.name
        _run_all([[command, "-shared", *map(str, objects), "-o", str(made), *link_flags]])
        os.replace(made, target)


def test(source: Path) -> int:
    """Compiles a C++ program with the kernels' headers, without TensorFlow; runs it and returns its exit code."""
    with tempfile.TemporaryDirectory() as temporary:
        program = Path(temporary) / source.stem
        headers = Path(library.__file__).parent
        _run_all([[compiler(), STANDARD, *library.FLAGS, f"-I{headers}", str(source), "-o", str(program)]])
        return subprocess.run([program], timeout=TIMEOUT, check=False).returncode


def main() -> None:
    """Compiles unless the library is in the cache, or runs a test."""
    parser = argparse.ArgumentParser(description="Compiles tfscale's native kernels for the installed TensorFlow.")
    parser.add_argument("--rebuild", action="store_true", help="compile even if the library is in the cache")
    parser.add_argument("--test", type=Path, metavar="FILE", help="compile a C++ test of the headers, and run it")
    flags = parser.parse_args()
    if flags.test is not None:
        sys.exit(test(flags.test))
    if library.tensorflow_version() is None:
        sys.exit(f"build_kernels: {sys.executable} has no TensorFlow; type: {sys.executable} -m pip install tensorflow")
    try:
        target, found = library.path(), library.find()
    except library.CacheError as error:
        sys.exit(f"build_kernels: {error}")
    if flags.rebuild or found is None:
        build(target)
    print(f"kernels for TensorFlow {library.tensorflow_version()}: {target}")


if __name__ == "__main__":
    main()
