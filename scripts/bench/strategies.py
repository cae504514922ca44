"""Samples a second of every strategy, as ratios to what a person would write by hand, measured in the same run.

usage: python -m tfscale.scripts.bench.strategies [--rounds 3] [--seconds 4] [--batch 128 512] [--only NAME ...]
                                                  [--json FILE]

Two references:

* hand-written: one process, all cores, a plain tf.function step with the same model, optimizer and input pipeline;
* pair: two processes with half the batch each that do not communicate at all, which no exchange can beat.

Peers (bench_peers.py): MirroredStrategy, MultiWorkerMirroredStrategy and Horovod with an allreduce a variable.

Every measurement runs in processes of its own, after a warm-up, and the variants take turns, so that a slow minute of
the machine hits all of them; medians over the rounds are reported. LeNet on random 28x28 images: only time counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfscale.scripts.bench import peers

from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.spawn import spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt
from tfscale.tracking.tables import person_console, results_table

WARM_UP = 30
"""Steps before the clock starts."""

ROUND = 16
"""Measurements are of a multiple of so many steps, which is a multiple of all rounds but that of five."""

ONE_PROCESS: Mapping[str, Sequence[str]] = {
    "hand-written": (),
    "MirroredStrategy": (),
    "local, 1 replica": ("strategy=local", "strategy.replicas=1"),
    "local, 2 replicas, every 5": ("strategy=local", "strategy.replicas=2"),
    "local, 2 replicas, every 1": ("strategy=local", "strategy.replicas=2", "strategy.every=1"),
    "sharing in one process": ("strategy=sharing", "strategy/collective=in_process", "strategy.replicas=2"),
}
TWO_PROCESSES: Mapping[str, Sequence[str]] = {
    "pair": (),
    "hand-written Horovod": (),
    "MultiWorkerMirroredStrategy": (),
    "horovod": ("strategy=horovod",),
    "horovod_averaging, every 5": ("strategy=horovod_averaging",),
    "sharing": ("strategy=sharing",),
    "sharing, delay 1": ("strategy=sharing", "strategy.delay=1"),
    "sharing, every 16": ("strategy=sharing", "strategy.every=16"),
}
OVER_LOOPBACK: Mapping[str, Sequence[str]] = {
    "horovod, over loopback": ("strategy=horovod", "strategy.collective.shared_memory=false"),
    "sharing, over loopback": ("strategy=sharing", "strategy.collective.shared_memory=false"),
}
"""Also in two processes, only if named: a transport that is not shared memory."""

COMMON = (
    "model=lenet",
    "data=synthetic",
    "data.examples=16384",
    "data.test_examples=16",
    "optimizer=nesterov",
)


def measure(name: str, batch: int, seconds: float) -> float:
    """Samples a second of one variant with a global batch, in new processes."""
    processes = 1 if name in ONE_PROCESS else 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [sys.executable, "-m", "tfscale.scripts.bench.strategies", "--worker", name]
        command += ["--batch", str(batch), "--seconds", str(seconds), "--folder", str(folder)]
        if processes == 1:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        else:
            directory = RunDirectory(folder)
            spawn = spawn_command(command)
            launcher = LocalLauncher(
                lambda attempt, spawn=spawn: spawn, directory=directory, start_timeout=120, interface=None
            )
            if launcher.run(Attempt(processes=2)).code:
                sys.exit(f"{name} failed:\n{directory.log(0).read_text()[-3000:]}")
        return sum(float(path.read_text()) for path in folder.glob("rate-*"))


def work(name: str, batch: int, seconds: float, folder: Path) -> None:
    """In a process of its own: trains one variant and writes this process's samples a second."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfscale.world import World, from_environment

    world = from_environment() or World()
    words = {**ONE_PROCESS, **TWO_PROCESSES, **OVER_LOOPBACK}[name]
    step, own = _by_strategy(words, batch, world) if words else _by_hand(name, batch, world, folder)
    for _ in range(WARM_UP):
        step()
    (folder / f"ready-{world.rank}").touch()
    deadline = time.monotonic() + 300
    while len(list(folder.glob("ready-*"))) < world.size and time.monotonic() < deadline:
        time.sleep(0.005)
    # Processes that wait for each other must do equally many steps, so the number is fixed before the clock starts.
    began = time.perf_counter()
    for _ in range(10):
        step()
    wanted = seconds / ((time.perf_counter() - began) / 10)
    steps = _agreed_steps(folder, world.rank, ROUND * max(1, round(wanted / ROUND)))
    began = time.perf_counter()
    for _ in range(steps - 1):
        step()
    float(step())  # a device may still be computing what Python has started
    (folder / f"rate-{world.rank}").write_text(str(steps * own / (time.perf_counter() - began)))


def _agreed_steps(folder: Path, rank: int, wanted: int) -> int:
    """Rank 0's number of steps, in every process."""
    place = folder / "steps"
    if rank == 0:
        temporary = place.with_suffix(".tmp")
        temporary.write_text(str(wanted))
        os.replace(temporary, place)
    while not place.exists():
        time.sleep(0.001)
    return int(place.read_text())


def _config(words: Sequence[str], batch: int, processes: int):
    from tfscale.config.preflight import check_job, preflight

    config = preflight([*COMMON, *words, "train.steps=1000000", f"train.batch={batch}"], config_dir=None)
    return check_job(config, processes=processes)


def _by_strategy(words: Sequence[str], batch: int, world):
    """One step of tfscale's own loop; the examples of a step that this process computes."""
    from tfscale.job.build import build, connect
    from tfscale.training.loop import training_steps

    replicas = 1 if "strategy.replicas=1" in words else 2
    config = _config(words, batch // replicas, world.size)
    job = build(config, connect(config, world))
    steps = training_steps(
        job.state, job.data, shards=job.collective.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=4
    )
    return lambda: next(steps).losses[0], batch // world.size


def _by_hand(name: str, batch: int, world, folder: Path) -> peers.Step:
    """One step of a peer."""
    if name == "MirroredStrategy":
        return peers.mirrored(batch)
    if name == "MultiWorkerMirroredStrategy":
        return peers.multi_worker(batch, world.rank, world.size, folder)
    make = peers.horovod if name == "hand-written Horovod" else peers.alone
    return make(batch, world.rank, world.size)


def bench(batches: Sequence[int], rounds: int, seconds: float, only: Sequence[str] | None) -> list[dict[str, object]]:
    """Measures all variants in turns; a row each, ratios to both references of the same batch."""
    rows = []
    for batch in batches:
        names = [*ONE_PROCESS, *TWO_PROCESSES]
        if only is not None:
            names = [name for name in (*names, *OVER_LOOPBACK) if name in (*only, "hand-written", "pair")]
        rates: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds):
            for name in names:
                rates[name].append(measure(name, batch, seconds))
                print(
                    f"batch {batch}, round {turn + 1}: {name} {rates[name][-1]:,.0f}",
                    file=sys.stderr,
                    flush=True,
                )
        medians = {name: statistics.median(values) for name, values in rates.items()}
        rows += [
            {
                "global_batch": batch,
                "what": name,
                "processes": 1 if name in ONE_PROCESS else 2,
                "samples_per_second": round(medians[name]),
                "over_hand_written": round(medians[name] / medians["hand-written"], 3),
                "over_pair": round(medians[name] / medians["pair"], 3),
                "lowest": round(min(rates[name])),
                "highest": round(max(rates[name])),
            }
            for name in names
        ]
    return rows


def main() -> None:
    """Runs the bench, or one measurement of it in a process of its own."""
    parser = argparse.ArgumentParser(description="Samples a second of every strategy, as ratios.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512], help="global batches, even")
    parser.add_argument("--only", nargs="+", default=None, help="these, besides the two references")
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.worker, arguments.batch[0], arguments.seconds, arguments.folder)
        return
    rows = bench(arguments.batch, arguments.rounds, arguments.seconds, arguments.only)
    results_table(person_console(), "strategies, samples a second (medians)", rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
