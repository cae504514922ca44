"""Measures the native backend against memory speed and against the entropy bound, in one run.

usage: python -m tfscale.scripts.bench.codec [--size 25000000] [--threads 1 2] [--rounds 9] [--json FILE] [--plot FILE]

The peer is the least that a step without compression costs: the pass r += g over the same D elements, by XLA or by
assign_add, whichever is faster here; with momentum v = m v + g; r += v, by XLA. Each number of threads has a process of
its own, in which all variants take turns, so that a slow second of the machine hits all of them. Results are medians
over rounds and over placements in memory.

Contributions are Gaussian and constant. Residuals are in their steady state, uniform between 0 and the threshold t,
with the contribution's sign: with E|g| / t = p, a share p of the elements is sent at every step, at independent
positions. Rates are D, or the number of elements sent in all messages, over the time. The bound is D (H(p) + p) bits,
for positions and signs.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfscale.scripts.bench.codec_plot import RATES, draw

from tfscale.tracking.tables import person_console, results_table

if TYPE_CHECKING:
    import tensorflow as tf

    from tfscale.compression.backends.base import Backend, SparseUpdate, Spec

DENSITIES = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.2)
MOMENTUM = 0.9
FEW = 10_000
"""Sent elements below which the header is above 0.1 % of a message; a larger D then shows the code itself."""

PLACEMENTS = 3
"""Allocations of all vectors: their placement changes the time of a pass by up to a tenth."""

HEADER_BITS = 192

PASS = ("peer", "peer_ms", "over_peer", "reference_over_peer", "momentum_peer_ms", "momentum_over_peer")


def bits(message: "tf.Tensor", count: int, size: int) -> dict[str, Any]:
    """Length of a message against the entropy of its positions and signs."""
    density = count / size
    entropy = -density * math.log2(density) - (1 - density) * math.log2(1 - density)
    written, bound = 32 * message.numpy().size, size * (entropy + density)
    return {
        "size": size,
        "density": density,
        "sent": count,
        "bits_an_element": written / count,
        "bits_over_bound": written / bound,
        "without_header": (written - HEADER_BITS) / bound,
    }


def spec(size: int, momentum: float = 0.0) -> "Spec":
    """One tensor, written in the rice code."""
    from tfscale.compression.backends.base import Spec
    from tfscale.compression.codecs.rice import Rice
    from tfscale.vectors import Layout

    return Spec(
        layout=Layout(names=("vector",), sizes=(size,)),
        min_size=0,
        momentum=momentum,
        nesterov=False,
        masking=False,
        levels=1,
        codes=(Rice(),),
        scale=1.0,
    )


def scattered(size: int, density: float) -> "SparseUpdate":
    """Sparse elements at independent positions of a vector that is never allocated."""
    import numpy as np
    import tensorflow as tf

    from tfscale.compression.backends.base import SparseUpdate

    random = np.random.default_rng(0)
    expected = size * density
    positions = np.cumsum(random.geometric(density, int(expected + 10 * math.sqrt(expected) + 10))) - 1
    positions = positions[positions < size]
    words = (positions << 1 | random.integers(0, 2, positions.size)).astype(np.uint32).view(np.int32)
    return SparseUpdate(tf.constant(words), tf.zeros([1]), tf.zeros([0]), tf.constant(True))


def medians(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each variant; they take turns, after a round that is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, act in work.items():
            began = time.perf_counter()
            act()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


class Bench:
    """The vectors of one process, and the variants that are timed on them.

    Args:
        size: D.
    """

    def __init__(self, size: int) -> None:
        import tensorflow as tf

        from tfscale.compression.backends.native import Native
        from tfscale.compression.backends.reference import Reference

        self._size = size
        self._gradient = tf.random.stateless_normal([size], seed=(1, 2))
        self._threshold = tf.Variable(tf.ones([1]))
        self._native = Native(spec(size))
        self._residuals = {name: tf.Variable(tf.zeros([size])) for name in ("native", "reference", "moving", "peer")}
        self._velocities = {name: tf.Variable(tf.zeros([size])) for name in ("moving", "peer")}
        ours = {
            "native": self._accumulate("native", self._native),
            "reference": self._accumulate("reference", Reference(spec(size))),
            "moving": self._accumulate("moving", Native(spec(size, MOMENTUM))),
        }
        pairs = zip(self._peers().items(), ours.items(), strict=True)
        self._dense: dict[str, Callable[[], Any]] = dict(each for pair in pairs for each in pair)

    def _peers(self) -> dict[str, Callable[[], Any]]:
        import tensorflow as tf

        residual, velocity = self._residuals["peer"], self._velocities["peer"]

        def add() -> None:
            residual.assign_add(self._gradient)

        def move() -> None:
            residual.assign_add(velocity.assign(MOMENTUM * velocity + self._gradient))

        return {
            "XLA": tf.function(add, jit_compile=True),
            "assign_add": tf.function(add),
            "moving_peer": tf.function(move, jit_compile=True),
        }

    def _accumulate(self, name: str, backend: "Backend") -> "Callable[[], SparseUpdate]":
        import tensorflow as tf

        # Velocities settle at g / (1 - m), and so does what a step adds: the threshold of the same density.
        stronger = 1.0 if name != "moving" else 1 / (1 - MOMENTUM)
        residual, velocity = self._residuals[name], self._velocities.get(name)
        from tfscale.compression.backends.base import Contribution

        given = Contribution(self._gradient, tf.constant(True))
        return tf.function(lambda: backend.accumulate(residual, velocity, given, stronger * self._threshold))

    def _settle(self, density: float) -> None:
        """Puts residuals and velocities into the steady state of a density."""
        import tensorflow as tf

        self._threshold.assign([math.sqrt(2 / math.pi) / density])  # the root is E|g|
        residual = tf.sign(self._gradient) * tf.random.stateless_uniform([self._size], seed=(3, 4)) * self._threshold
        self._residuals["peer"].assign(tf.zeros_like(residual))
        for name in ("native", "reference", "moving"):
            self._residuals[name].assign(residual / (1 - MOMENTUM) if name == "moving" else residual)
        self._velocities["moving"].assign(self._gradient / (1 - MOMENTUM))

    def measure(self, density: float, rounds: int) -> dict[str, Any]:
        """Measures all variants at a density."""
        import tensorflow as tf

        from tfscale.compression import message as framing

        self._settle(density)
        threshold = tf.convert_to_tensor(self._threshold)
        header = tf.stack([1, framing.threshold_word(threshold), 7, 128])
        updates = [self._dense["native"]() for _ in range(4)]
        sent = [int(tf.size(update.sent)) for update in updates]
        messages = [self._native.encode(update, header) for update in updates]
        timed = {
            **self._dense,
            "encode": lambda: self._native.encode(updates[0], header),
            "decode": lambda: self._native.decode(messages[:1], threshold, header[:2]),
            "decode_4": lambda: self._native.decode(messages, threshold, header[:2]),
        }
        runs = []
        for _ in range(PLACEMENTS):
            self._settle(density)
            runs.append(medians(timed, rounds))
        seconds = {name: statistics.median(run[name] for run in runs) for name in timed}
        row = {**bits(messages[0], sent[0], self._size), **_ratios(seconds)}
        for name, count in zip(RATES, (sent[0], sent[0], sum(sent)), strict=True):
            row[f"{name}_dense_M/s"] = self._size / seconds[name] / 1e6
            row[f"{name}_sent_M/s"] = count / seconds[name] / 1e6
        return row


def _ratios(seconds: Mapping[str, float]) -> dict[str, Any]:
    peer = min(("XLA", "assign_add"), key=lambda name: seconds[name])
    return {
        "peer": peer,
        "peer_ms": 1e3 * seconds[peer],
        "over_peer": seconds["native"] / seconds[peer],
        "reference_over_peer": seconds["reference"] / seconds[peer],
        "momentum_peer_ms": 1e3 * seconds["moving_peer"],
        "momentum_over_peer": seconds["moving"] / seconds["moving_peer"],
    }


def work(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures a row for each density in this process; with 0 threads, only the bits of messages of a large D."""
    import tensorflow as tf

    from tfscale.compression.backends.native import Native

    if arguments.worker == 0:
        size, rows = arguments.bound_size, []
        for density in DENSITIES:
            if density * arguments.size < FEW:
                update = scattered(size, density)
                message = Native(spec(size)).encode(update, tf.constant([1, 0, 7, 128]))
                rows.append(bits(message, int(tf.size(update.sent)), size))
        return rows
    tf.config.threading.set_intra_op_parallelism_threads(arguments.worker)
    bench = Bench(arguments.size)
    return [{"threads": arguments.worker, **bench.measure(density, arguments.rounds)} for density in DENSITIES]


def run(threads: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Starts a process; returns its rows."""
    command = [sys.executable, "-m", "tfscale.scripts.bench.codec", "--worker", str(threads)]
    for name in ("size", "bound_size", "rounds"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    if done.returncode:
        sys.exit(f"bench_codec: {threads} threads failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Runs the benchmark, or one process of it."""
    parser = argparse.ArgumentParser(description="The native backend, as ratios to memory speed and entropy.")
    parser.add_argument("--size", type=int, default=25_000_000, help="D")
    parser.add_argument("--bound-size", type=int, default=2**27, help="D of messages that are only counted")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    parser.add_argument("--plot", type=Path, default=None, help="also draw them there")
    parser.add_argument("--worker", type=int, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.size < 10**6:
        parser.error(f"--size must be >= 1000000 for a density of 1e-5 to send something, got {arguments.size}")
    if arguments.worker is not None:
        print(json.dumps(work(arguments)))
        return
    rows = [row for threads in arguments.threads for row in run(threads, arguments)]
    bounds = run(0, arguments)
    console = person_console()
    rates = [f"{name}_{what}_M/s" for name in RATES for what in ("dense", "sent")]
    title = f"dense pass over D = {arguments.size:,}"
    tables = {title: PASS, "messages, millions of elements a second": ("bits_over_bound", *rates)}
    for title, names in tables.items():
        results_table(console, title, [{name: row[name] for name in ("threads", "density", *names)} for row in rows])
    sizes = [{name: row[name] for name in bounds[0]} for row in rows if row["threads"] == arguments.threads[0]]
    results_table(console, "bits against the entropy bound", [*sizes, *bounds])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"speed": rows, "bits": bounds}, indent=2) + "\n")
    if arguments.plot is not None:
        draw(rows, bounds, arguments.plot)


if __name__ == "__main__":
    main()
