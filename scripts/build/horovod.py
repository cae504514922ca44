"""Builds Horovod 0.28.1 for the TensorFlow that this Python has, and installs it.

usage: python -m tfscale.scripts.build.horovod [--rebuild] [--wheel-only]

No Horovod wheel exists for TensorFlow 2.16 and later, and its last release does not compile against them. A few lines
change, all in this script and nowhere else:

* horovod/tensorflow/CMakeLists.txt: `xla_mpi_ops.cc` is dropped from the sources. It includes XLA headers that
  TensorFlow has moved, and only serves collectives inside jit-compiled functions. Every other source compiles as it is.
* horovod/common/gloo/gloo_controller.cc: `global_ranks_.reserve(size_)` becomes `resize`. As released, the controller
  reads an empty vector, and HOROVOD_STALL_CHECK_TIME_SECONDS never reports a stalled rank under Gloo.
* horovod/common/operations.cc, tensor_queue.h and .cc: between two rounds the background thread waits for a tensor, for
  HOROVOD_CYCLE_TIME at most. As released, it sleeps that long whatever comes, and must then be woken a thousand times a
  second to be quick, each time to ask all other processes over the network whether they have something: 8 % of a core.
* horovod/common/gloo/gloo_context.cc: a process set uses the network interface that its processes were given. As
  released, it takes the one that the host's name resolves to, and listens there.

The source is pip's copy of the release, held against its sha256 sum. The wheel is kept in the user's cache, under a
name made of everything it depends on, so the second time takes a second.

Gloo is built by default. Horovod's own variables choose otherwise, HOROVOD_WITH_MPI=1 or HOROVOD_GPU_OPERATIONS=NCCL
for instance; those that start with HOROVOD_ become part of the wheel's key.

Needs: a C++ compiler, cmake, make, and TensorFlow installed in this Python. Standard library only.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

VERSION = "0.28.1"
SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
TOOLS = {"cmake": "cmake", "make": "make", "c++": "g++"}
"""Program -> the Debian package that has it."""

BUILD_REQUIREMENTS = ("setuptools<80", "wheel", "packaging")
DEFAULTS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_LOCAL_VERSION": "tfscale",
}
CHANGES = (
    (
        "horovod/tensorflow/CMakeLists.txt",
        'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")',
        "",
    ),
    (
        "horovod/common/gloo/gloo_controller.cc",
        "global_ranks_.reserve(size_);",
        "global_ranks_.resize(size_);",
    ),
    (
        "horovod/common/operations.cc",
        "std::this_thread::sleep_for(sleep_duration);",
        "state.process_set_table.Get(0).tensor_queue.WaitForTensor(sleep_duration);",
    ),
    (
        "horovod/common/tensor_queue.h",
        """  void RemoveJoinTensor();

protected:
""",
        """  void RemoveJoinTensor();

  // Until a tensor is here, or the time is over.
  void WaitForTensor(std::chrono::steady_clock::duration limit) {
    std::unique_lock<std::mutex> guard(mutex_);
    arrived_.wait_for(guard, limit, [this] { return !(tensor_table_.empty() && message_queue_.empty()); });
  }

protected:
  std::condition_variable arrived_;

""",
    ),
    (
        "horovod/common/tensor_queue.h",
        "#include <queue>\n",
        "#include <chrono>\n#include <condition_variable>\n#include <queue>\n",
    ),
    (
        "horovod/common/tensor_queue.cc",
        """  message_queue_.push(std::move(message));
  return Status::OK();
""",
        """  message_queue_.push(std::move(message));
  arrived_.notify_one();
  return Status::OK();
""",
    ),
    (
        "horovod/common/tensor_queue.cc",
        """    message_queue_.push(std::move(messages[i]));
  }
  return Status::OK();
""",
        """    message_queue_.push(std::move(messages[i]));
  }
  arrived_.notify_one();
  return Status::OK();
""",
    ),
    (
        "horovod/common/gloo/gloo_context.cc",
        "  assert(global_context.IsEnabled());\n",
        "  assert(global_context.IsEnabled());\n  gloo_iface_ = global_context.gloo_iface_;\n",
    ),
)
"""File, text that must stand in it exactly once, text that takes its place."""

BUILD_TIMEOUT = 3600
"""Seconds: an hour is ten times what two slow cores need."""


def settings() -> dict[str, str]:
    """Horovod's build variables: the user's over ours."""
    given = {name: value for name, value in os.environ.items() if name.startswith("HOROVOD_")}
    chosen = {**DEFAULTS, **given}
    if "HOROVOD_WITH_MPI" not in chosen:
        chosen.setdefault("HOROVOD_WITHOUT_MPI", "1")
    return chosen


def wheel_folder(chosen: Mapping[str, str], tensorflow: str) -> Path:
    """Returns the path of the wheel for these settings, this TensorFlow, Python and machine."""
    parts = [
        VERSION,
        SHA256,
        tensorflow,
        sys.implementation.cache_tag or "",
        platform.machine(),
        repr(CHANGES),
    ]
    parts += [f"{name}={value}" for name, value in sorted(chosen.items())]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tfscale" / "wheels" / f"horovod-{VERSION}-tf{tensorflow}-{key}"


def check_tools() -> str:
    """Looks for compiler, cmake and TensorFlow; returns TensorFlow's version."""
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        sys.exit(
            f"build_horovod: {', '.join(missing)} not found; type: apt-get install {' '.join(missing.values())} "
            "(or your system's packages of that kind)"
        )
    for package in ("tensorflow", "tensorflow-cpu", "tf-nightly"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    sys.exit(f"build_horovod: {sys.executable} has no TensorFlow; type: {sys.executable} -m pip install tensorflow")


def run(command: list[str], log: Path, **environment: str) -> None:
    """Runs a step of the build; on failure shows the end of its log."""
    with log.open("ab") as stream:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            timeout=BUILD_TIMEOUT,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
        sys.exit(
            f"{tail}\nbuild_horovod: {' '.join(command)} failed with exit code {done.returncode}; its output is above"
        )


def fetch_source(folder: Path, log: Path, tools: str) -> Path:
    """Downloads, verifies, unpacks and changes the release; returns its root."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-binary",
        "horovod",
        "--no-build-isolation",
    ]
    # Pip asks the source for its metadata; without a framework to build for it answers at once.
    run([*pip, f"horovod=={VERSION}", "-d", str(folder)], log, PYTHONPATH=tools)
    archive = next(folder.glob("horovod-*.tar.gz"))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"build_horovod: {archive.name} has sha256 {found}, not {SHA256}; it is not the release, and not used")
    with tarfile.open(archive) as source:
        source.extractall(folder)  # known bytes: the sum was right
    root = folder / f"horovod-{VERSION}"
    for name, before, after in CHANGES:
        text = (root / name).read_text()
        if text.count(before) != 1:
            sys.exit(f"build_horovod: {name} does not have the line that has to change; this script is for {VERSION}")
        (root / name).write_text(text.replace(before, after))
    return root


def build(folder: Path, chosen: Mapping[str, str]) -> None:
    """Compiles the wheel into `folder`; all or nothing."""
    with tempfile.TemporaryDirectory(prefix="horovod-") as temporary:
        place = Path(temporary)
        log, tools, wheels = place / "build.log", str(place / "tools"), place / "wheels"
        run([sys.executable, "-m", "pip", "install", "-q", "--target", tools, *BUILD_REQUIREMENTS], log)
        root = fetch_source(place, log, tools)
        environment = {
            **chosen,
            "PYTHONPATH": tools,
            "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
            "MAKEFLAGS": os.environ.get("MAKEFLAGS") or f"-j{os.cpu_count() or 1}",
        }
        pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
        run([*pip, "-w", str(wheels), str(root)], log, **environment)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=folder.parent))
        shutil.copy2(next(wheels.glob("*.whl")), staged)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(staged, folder)


def main() -> None:
    """Builds unless the wheel is there, then installs it."""
    parser = argparse.ArgumentParser(description="Builds Horovod for the installed TensorFlow.")
    parser.add_argument("--rebuild", action="store_true", help="build even if the wheel is in the cache")
    parser.add_argument("--wheel-only", action="store_true", help="build, but do not install")
    arguments = parser.parse_args()
    tensorflow = check_tools()
    chosen = settings()
    folder = wheel_folder(chosen, tensorflow)
    if arguments.rebuild or not list(folder.glob("*.whl")):
        print(
            f"building Horovod {VERSION} for TensorFlow {tensorflow}: one to two minutes on two cores",
            flush=True,
        )
        build(folder, chosen)
    wheel = next(folder.glob("*.whl"))
    if not arguments.wheel_only:
        # The wheel's name does not change with what it was built for, so an installed one is replaced.
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", str(wheel)],
            check=True,
        )
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "cloudpickle", "psutil", "pyyaml", "packaging"],
            check=True,
        )
    print(f"Horovod {VERSION} for TensorFlow {tensorflow}: {wheel}")


if __name__ == "__main__":
    main()
