"""Examples a second that a training loop gets, as ratios to pipelines written by hand for the same files.

usage: python -m tfscale.scripts.bench.input [--sources images tfrecord ...] [--rounds 15] [--seconds 0.5]
                                             [--examples 8192] [--batch 64] [--wait-steps 100] [--json FILE]

The files are written into a temporary folder. tfscale reads them as a job of one replica does (`data.train`), and
`input_peers.py` has the rivals. One process holds all iterators of a source. In every round each of them is drawn from
for `--seconds`, in random order, and then left to fill its buffers again, which counts as time too: autotuned buffers
hold a second's work, which would be free otherwise. A ratio is that of one round, so that a slow minute of the machine
hits both; medians over the rounds are reported, with the lowest and the highest. The ratio of examples a second of
processor time depends less on what else the machine does.

The waiting share is the time that a job of tfscale waits for data over the time of its steps: a small cnn (an mlp for
rows of numbers) with one replica.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfscale.scripts.bench import input_files, input_peers, input_speed

from tfscale.startup_noise import hidden_startup_noise
from tfscale.supervision.phase import Phase
from tfscale.tracking.tables import person_console, results_table
from tfscale.world import World

if TYPE_CHECKING:  # arguments are read without TensorFlow
    from tfscale.config.schemas.config import Config
    from tfscale.job.build import Connection

PREFETCH = 4
"""Batches prepared ahead by tfscale: the default of train.prefetch."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source.

    Attributes:
        write: Writes its files, and returns the overrides that name them.
        model: Option of the model that waits for it.
        peers: Pipelines written by hand.
    """

    write: Callable[[Path, int], Sequence[str]]
    model: str
    peers: Mapping[str, input_peers.Peer]


CASES: Mapping[str, Case] = {
    "images": Case(
        write=input_files.write_images,
        model="cnn",
        peers={
            "decode, resize": input_peers.images,
            "decode, resize without antialias": input_peers.images_aliased,
        },
    ),
    "tfrecord": Case(
        write=input_files.write_image_records,
        model="cnn",
        peers={"TFRecordDataset, decode": input_peers.image_records},
    ),
    "tfrecord_rows": Case(
        write=input_files.write_row_records,
        model="mlp",
        peers={"TFRecordDataset, parse": input_peers.row_records},
    ),
    "table": Case(
        write=input_files.write_table,
        model="mlp",
        peers={
            "make_csv_dataset": input_peers.csv_dataset,
            "in memory, slices": input_peers.table_slices,
            "in memory, gather": input_peers.table_gather,
        },
    ),
    "arrays": Case(
        write=input_files.write_npz,
        model="cnn",
        peers={"slices": input_peers.npz_slices, "gather": input_peers.npz_gather},
    ),
    "mapped_arrays": Case(
        write=input_files.write_npy,
        model="cnn",
        peers={
            "in memory, slices": input_peers.npy_slices,
            "in memory, gather": input_peers.npy_gather,
            "mapped": input_peers.npy_mapped,
        },
    ),
}


def config_of(words: Sequence[str], model: str, batch: int) -> "Config":
    """Returns the checked configuration of a job of one replica."""
    from tfscale.config.preflight import check_job, preflight

    common = ("strategy=local", "strategy.replicas=1", f"model={model}", f"train.batch={batch}", "train.steps=1000000")
    return check_job(preflight([*words, *common], config_dir=None), processes=1)


def feeds(case: Case, config: "Config", folder: Path, batch: int) -> dict[str, Iterator[object]]:
    """Returns the endless batches of tfscale and of its rivals."""
    from tfscale.data.base import Shard
    from tfscale.job.build_data import build_data

    own = build_data(config).data.train(Shard(0, 1), batch=batch, seed=0, start=0, prefetch=PREFETCH)
    return {input_speed.OWN: iter(own), **{name: iter(peer(folder, batch)) for name, peer in case.peers.items()}}


def waiting_share(config: "Config", connection: "Connection", steps: int) -> float:
    """Returns the time in which a job waits for data over the time of its steps, warmed up."""
    from tfscale.job.build import build
    from tfscale.training.loop import training_steps

    entered: dict[Phase, float] = {}
    waited: list[float] = []

    def heartbeat(phase: Phase, step: int) -> None:
        entered[phase] = time.perf_counter()
        if phase is Phase.STEP:
            waited.append(entered[Phase.STEP] - entered[Phase.DATA])

    job = build(config, connection)
    plan = job.plan
    trained = training_steps(
        job.state, job.data, shards=1, batch=plan.batch, seed=plan.seed, prefetch=PREFETCH, heartbeat=heartbeat
    )
    seconds = [next(trained).seconds for _ in range(2 * steps)]
    return sum(waited[steps:]) / sum(seconds[steps:])


def bench(
    arguments: argparse.Namespace, connection: "Connection", folder: Path
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Measures all sources; rows of ratios, and rows of waiting shares."""
    compared_rows, waiting_rows = [], []
    for source in arguments.sources:
        case, own = CASES[source], folder / source
        own.mkdir()
        config = config_of(case.write(own, arguments.examples), case.model, arguments.batch)
        found = input_speed.speeds(
            feeds(case, config, own, arguments.batch),
            batch=arguments.batch,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
        )
        compared_rows += input_speed.compared(source, found)
        if arguments.wait_steps:
            share = waiting_share(config, connection, arguments.wait_steps)
            waiting_rows.append({"source": source, "model": case.model, "waiting_share": f"{share:.1%}"})
        print(*compared_rows[-len(case.peers) :], *waiting_rows[-1:], sep="\n", file=sys.stderr, flush=True)
    return compared_rows, waiting_rows


def main() -> None:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description="Examples a second of input pipelines, as ratios.")
    parser.add_argument("--sources", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--examples", type=int, default=8192, help="of each source")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--wait-steps", type=int, default=100, help="of the job that waits; 0: none")
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with hidden_startup_noise():
        from tfscale.job.build import connect
    connection = connect(config_of(("data=synthetic",), "mlp", arguments.batch), World())
    with tempfile.TemporaryDirectory() as temporary:
        rows, waiting = bench(arguments, connection, Path(temporary))
    console = person_console()
    results_table(console, f"input, batch {arguments.batch}, {arguments.rounds} rounds", rows)
    if waiting:
        results_table(console, "time that a job waits for data, of the time of its steps", waiting)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"ratios": rows, "waiting": waiting}, indent=2) + "\n")


if __name__ == "__main__":
    main()
