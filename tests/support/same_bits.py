"""Compares the parameters that a revision trains with those of the working tree, bit for bit.

    python -m tests.support.same_bits REVISION [--keep DIR] [--only NAME ...]

Trains ten configurations (every strategy, Adam, dropout, batch normalization, a kill followed by a resume) under both,
and resumes a run directory of REVISION with the working tree. Digests depend on the processor, so they are measured on
the machine at hand and never stored in the repository. `--keep DIR` keeps the runs of REVISION for the next call.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STEPS = 60
COMMON = ("data=digits", f"train.steps={STEPS}", "train.checkpoint_every=20", "train.evaluate_every=30")
ALONE = ("strategy/collective=in_process", "launch.np=1")
CNN = ("model=cnn", "model.filters=[8,16]", "model.dropout=0.2")
CONFIGURATIONS: Mapping[str, Sequence[str]] = {
    "local": ("strategy=local", "strategy.every=3"),
    "local_adam_dropout": ("strategy=local", "optimizer=adam", "model.dropout=0.2", "launch.np=2"),
    "horovod": ("strategy=horovod", "launch.np=2"),
    "horovod_batch_norm": ("strategy=horovod", "strategy.reproducible=true", "launch.np=2", *CNN),
    "horovod_averaging": ("strategy=horovod_averaging", "strategy.every=2", "launch.np=2"),
    "sharing": ("strategy=sharing", "launch.np=2"),
    "sharing_adam_dropout": ("strategy=sharing", "optimizer=adam", "model.dropout=0.2", "launch.np=2"),
    "sharing_batch_norm": ("strategy=sharing", "strategy.replicas=3", *ALONE, *CNN),
    "sharing_delayed": (
        *("strategy=sharing", "strategy.replicas=3", *ALONE, "strategy.delay=1", "strategy.warmup=5"),
        *("strategy.flush_every=20", "strategy.per_tensor=true", "strategy.min_size=17"),
    ),
    "killed": ("strategy=sharing", "optimizer=adam", "launch.np=2", "model.dropout=0.2"),
}
KILLED = "killed"
HALF = "half"
"""The run that REVISION trains for half its steps, and the working tree for the rest."""


def train(tree: Path, runs: Path, name: str, words: Sequence[str], command: str = "train") -> subprocess.Popen[bytes]:
    """Starts `tfscale` from a tree of files."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    which = [f"run.name={name}"] if command == "train" else [name]
    return subprocess.Popen(
        [sys.executable, "-m", "tfscale", command, *which, f"run.dir={runs}", *words],
        cwd=runs,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def finished(process: subprocess.Popen[bytes], what: str) -> None:
    """Waits for a good end."""
    if process.wait():
        sys.exit(f"same_bits: {what} failed; its output is above")


def digest(runs: Path, name: str) -> str:
    """sha256 of the parameters that a run ended with."""
    return json.loads((runs / name / "summary.json").read_text())["parameters_sha256"]


def measured(tree: Path, runs: Path, name: str) -> str:
    """Trains one configuration, unless it was trained before; returns its digest."""
    if not (runs / name / "summary.json").is_file():
        words = [*COMMON, *CONFIGURATIONS[name]]
        process = train(tree, runs, name, words)
        if name == KILLED:
            while not list((runs / name).glob("checkpoints/step-*[0-9]/MANIFEST.json")):
                if process.poll() is not None:
                    sys.exit(f"same_bits: {name} ended before its first checkpoint")
                time.sleep(0.01)
            process.kill()
            process.wait()
            process = train(tree, runs, name, [], command="resume")
        finished(process, name)
    return digest(runs, name)


def checked_out(revision: str, place: Path) -> Path:
    """The files of a revision, importable as they are: what setuptools maps into the package is linked there."""
    place.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    for name in ("conf", "recipes", "scripts"):
        (place / "tfscale" / name).symlink_to(place / name)
    environment = {**os.environ, "PYTHONPATH": str(place)}
    subprocess.run([sys.executable, "-m", "tfscale.scripts.build_kernels"], env=environment, cwd=place, check=False)
    subprocess.run([sys.executable, "-m", "tfscale.scripts.build.kernels"], env=environment, cwd=place, check=False)
    return place


def half_resumed(old: Path, old_runs: Path, new_runs: Path) -> tuple[str, str]:
    """Digests of a run that REVISION trains alone, and of one that the working tree ends."""
    words = [*COMMON, *CONFIGURATIONS["sharing_adam_dropout"]]
    if not (old_runs / HALF / "summary.json").is_file():
        finished(train(old, old_runs, HALF, [*words, f"train.steps={STEPS // 2}"]), HALF)
    shutil.copytree(old_runs / HALF, new_runs / HALF)
    finished(train(ROOT, new_runs, HALF, [f"train.steps={STEPS}"], command="resume"), f"resume of {HALF}")
    return digest(old_runs, "sharing_adam_dropout"), digest(new_runs, HALF)


def main() -> None:
    """Prints a line for each configuration; exit code 1 if one differs."""
    parser = argparse.ArgumentParser(description="Compares trained parameters with those of an earlier revision.")
    parser.add_argument("revision")
    parser.add_argument("--keep", type=Path, default=None, help="folder in which the runs of REVISION stay")
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    flags = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        kept = (flags.keep or Path(temporary) / "kept").absolute()
        old, new_runs = kept / "tree", Path(temporary) / "new"
        old_runs = kept / "runs"
        if not old.is_dir():
            checked_out(flags.revision, old)
        for folder in (old_runs, new_runs):
            folder.mkdir(exist_ok=True)
        pairs = {name: (measured(old, old_runs, name), measured(ROOT, new_runs, name)) for name in flags.only}
        if "sharing_adam_dropout" in flags.only:
            pairs["resumed by the working tree"] = half_resumed(old, old_runs, new_runs)
        for name, (before, after) in pairs.items():
            wrong += before != after
            print(f"{'same' if before == after else 'DIFFERENT':10}{name:28}{before[:16]}  {after[:16]}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
