"""`tfscale doctor`: checks that this machine can train, and names the command that repairs what cannot."""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfscale.errors import first_line
from tfscale.kernels import library
from tfscale.launchers import gpus
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.spawn import spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.startup_noise import hidden_startup_noise
from tfscale.supervision.attempt import Attempt, Outcome

BUILD = "python -m tfscale.scripts.build.horovod"
ENOUGH_DISK = 1 << 30
"""Free bytes that checkpoints and logs should have."""

TWO_PROCESSES = """
import tensorflow as tf
from tfscale.collectives.horovod import Horovod
collective = Horovod(replicas=2, processes=2)
total = collective.mean([tf.fill([1000], float(rank + 1)) for rank in collective.ranks])
assert collective.size == 2 and float(total[0]) == 1.5, total
lengths = [int(tf.size(each)) for each in collective.gather([tf.zeros([collective.ranks[0]], tf.int32)])]
assert lengths == [0, 1], lengths
"""
"""Code of the two processes: a mean, and a gather of unequal lengths."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check.

    Attributes:
        works: True if the part works.
        report: One line about the part.
        fix: The command or step that repairs it; empty if there is none.
        needed: True if tfscale cannot train without the part.
    """

    works: bool
    report: str
    fix: str = ""
    needed: bool = True


def main(flags: argparse.Namespace) -> int:
    """Runs all checks and prints a line for each; exit code 1 if a part that is needed does not work."""
    del flags  # there are none
    findings = []
    for name, check in CHECKS.items():
        finding = _checked(check)
        findings.append(finding)
        mark = "ok  " if finding.works else ("FAIL" if finding.needed else "-   ")
        print(f"{mark}  {name:14}{finding.report}")
        if finding.fix and not finding.works:
            print(f"      {'':14}to fix it: {finding.fix}")
    return 0 if all(finding.works or not finding.needed for finding in findings) else 1


def _checked(check: Callable[[], Finding]) -> Finding:
    """Runs a check; if the check itself fails, its part is broken."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - broken installations fail in many ways
        return Finding(
            works=False, report=f"{type(error).__name__}: {first_line(error)[:160]}", fix=FIXES.get(check, "")
        )


def _python() -> Finding:
    return Finding(works=sys.version_info >= (3, 11), report=sys.version.split()[0], fix="install Python 3.11 or newer")


def _tensorflow() -> Finding:
    with hidden_startup_noise():
        import tensorflow as tf
    return Finding(
        works=tf.__version__.startswith("2.21."),
        report=tf.__version__,
        fix="pip install 'tensorflow>=2.21,<2.22'",
    )


def _keras() -> Finding:
    import keras

    backend = keras.config.backend()
    return Finding(
        works=backend == "tensorflow" and keras.__version__.startswith("3."),
        report=f"{keras.__version__}, backend {backend}",
        fix="unset KERAS_BACKEND (and backend in ~/.keras/keras.json), or set it to tensorflow",
    )


def _horovod() -> Finding:
    if importlib.util.find_spec("horovod") is None:
        return Finding(
            works=False,
            report="not installed: strategies between processes cannot run; strategy=local can",
            fix=BUILD,
            needed=False,
        )
    from tfscale.collectives.horovod import transports

    built = transports()
    return Finding(works=bool({"gloo", "mpi"} & set(built)), report=f"built with {', '.join(built)}", fix=BUILD)


def _collectives() -> Finding:
    """Runs a real mean and a real gather in two processes."""
    if importlib.util.find_spec("horovod") is None:
        return Finding(works=False, report="not checked: Horovod is not installed", needed=False)
    with tempfile.TemporaryDirectory() as temporary:
        directory = RunDirectory(Path(temporary))
        spawn = spawn_command([sys.executable, "-P", "-c", TWO_PROCESSES])
        launcher = LocalLauncher(lambda attempt: spawn, directory=directory, start_timeout=60, interface=None)
        if launcher.run(Attempt(processes=2)).outcome is Outcome.DONE:
            return Finding(works=True, report="two processes exchanged a mean and messages of unequal length")
        lines = directory.log(0).read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
    return Finding(works=False, report=lines[0][:200], fix=f"{BUILD} --rebuild")


def _kernels() -> Finding:
    """Loads the kernels and computes with them."""
    if library.load() is None:
        report = "not built: strategy=sharing computes the same with TensorFlow operations, about five times slower"
        return Finding(works=False, report=report, fix=library.BUILD, needed=False)
    import tensorflow as tf

    from tfscale.compression.backends.base import Spec
    from tfscale.compression.backends.native import Native
    from tfscale.vectors import Layout

    layout = Layout(names=("probe",), sizes=(3,))
    rules = {"min_size": 0, "momentum": 0.0, "nesterov": False, "masking": False, "levels": 1}
    spec = Spec(layout=layout, codes=(), scale=1.0, **rules)
    native, residual = Native(spec), tf.Variable(tf.constant([0.0, 0.6, 0.0]))
    found = native.accumulate(residual, None, native.check(tf.constant([-0.5, 0.0, 0.1])), tf.constant([0.5]))
    works = found.sent.numpy().tolist() == [1, 2]
    return Finding(works=works, report="native, for this TensorFlow", fix=f"{library.BUILD} --rebuild")


def _tensorboard() -> Finding:
    installed = importlib.util.find_spec("tensorboard") is not None
    report = "installed" if installed else "not installed: tracker=tensorboard cannot be used"
    return Finding(works=installed, report=report, fix="pip install 'tfscale[tensorboard]'", needed=False)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    writable = os.access(Path.cwd(), os.W_OK)
    return Finding(
        works=writable and free > ENOUGH_DISK,
        report=f"{free / 2**30:.1f} GB free here" + ("" if writable else ", not writable"),
        fix="run in another folder, or set run.dir to one with more free space",
    )


def _gpus() -> Finding:
    driver = gpus.count()
    import tensorflow as tf

    seen = len(tf.config.list_physical_devices("GPU"))
    if driver and not seen:
        return Finding(
            works=False,
            report=f"the driver shows {driver}, TensorFlow none",
            fix="pip install 'tensorflow[and-cuda]>=2.21,<2.22'",
        )
    return Finding(
        works=seen > 0,
        report=f"{seen} visible to TensorFlow" if seen else "none: training on CPU",
        needed=False,
    )


def _fetching() -> Finding:
    found = [tool for tool in ("npm", "apt-get") if shutil.which(tool)]
    report = f"keras.datasets{''.join(f', {tool}' for tool in found)} to fetch data with"
    return Finding(works=True, report=report)


FIXES: dict[Callable[[], Finding], str] = {
    _tensorflow: "pip install 'tensorflow>=2.21,<2.22'",
    _keras: "unset KERAS_BACKEND (and backend in ~/.keras/keras.json); pip install 'keras>=3.15,<4'",
    _horovod: f"{BUILD} --rebuild",
    _collectives: f"{BUILD} --rebuild",
    _kernels: f"{library.BUILD} --rebuild",
    _gpus: "pip install 'tensorflow>=2.21,<2.22'",
}
"""Command or step that repairs a part whose check itself fails."""

CHECKS: dict[str, Callable[[], Finding]] = {
    "python": _python,
    "tensorflow": _tensorflow,
    "keras": _keras,
    "horovod": _horovod,
    "collectives": _collectives,
    "kernels": _kernels,
    "gpus": _gpus,
    "tensorboard": _tensorboard,
    "disk": _disk,
    "data sources": _fetching,
}
