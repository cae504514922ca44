"""Measures exchanges on emulated slow links: steps, bytes and time to a test accuracy; needs root.

usage: python -m tfscale.scripts.bench.links [--ranks 2 4] [--rates none 1gbit 100mbit 10mbit] [--target 0.97]
                                            [--columns "allreduce fp32" sharing ...] [--json FILE]

Every process lives in a network namespace of its own, as if on a host of its own; a bridge in one more namespace joins
them, and both directions of every link pass a token bucket (tc-tbf; this needs no netem). Nothing appears in the
machine's own network, so the addresses can be fixed and no two benches meet.

An MLP of 10.7 million parameters learns MNIST: little to compute for much to exchange. Global batch and learning rate
are the same in all rows of a number of ranks, and so is what a process computes. A dense allreduce does the same steps
on every link, so on shaped ones its time to the target is the measured step time times the steps that it needed on the
unshaped link; such a row says `extrapolated`, and --full runs it to the end instead. fp16 sends half the bytes, but
Gloo adds halves in software, so that it only wins where the link is slow.

If it is killed outright (SIGKILL), its processes end, and `ip netns list` shows what to delete: tfscale-PID-*.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tfscale.scripts.bench.links_network import INTERFACE, UNSHAPED, address, emulated, rendezvous, undisturbed
from tfscale.scripts.bench.links_plot import plot
from tfscale.scripts.bench.links_worker import FP16, FP32, POWERSGD, ROUND, ROUNDS, SHARING, Measured, Task

from tfscale.launchers.rendezvous import rank_environment
from tfscale.launchers.spawn import PARENT
from tfscale.supervision.signals import Stopped, end, signals_raise
from tfscale.tracking.tables import person_console, results_table

LINKS = (UNSHAPED, "1gbit", "100mbit", "10mbit")
"""More than 1 Gbit/s is not what a bucket lets through on two cores."""

WARM_UP = 5
"""Steps that no step time is taken from; the first one compiles."""

START = 180
"""Seconds for all processes to find each other and to build their jobs."""

Row = dict[str, object]


def environment(rank: int, ranks: int, *, port: int, threads: int) -> dict[str, str]:
    """Returns the environment of a process: one rank a host, for Horovod and for PyTorch."""
    return {
        **rank_environment(rank, processes=ranks, port=port, start_timeout=START, interface=INTERFACE),
        "HOROVOD_HOSTNAME": address(rank),
        "HOROVOD_LOCAL_RANK": "0",
        "HOROVOD_LOCAL_SIZE": "1",
        "HOROVOD_CROSS_RANK": str(rank),
        "HOROVOD_CROSS_SIZE": str(ranks),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address(None),
        "MASTER_ADDR": address(0),
        "MASTER_PORT": "29500",
        "GLOO_SOCKET_IFNAME": INTERFACE,
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        PARENT: str(os.getpid()),
    }


def run(task: Task, *, ranks: int, link: str, threads: int) -> list[Measured]:
    """Does one task in new processes on a new network; what each of them saw."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tfscale-bench-")))
        network = stack.enter_context(emulated(ranks, link))
        port = stack.enter_context(rendezvous(network))
        running: list[subprocess.Popen[bytes]] = []
        stack.callback(_end_all, running)
        line = [sys.executable, "-m", "tfscale.scripts.bench.links_worker"]
        line.append(replace(task, folder=str(folder), threads=threads).to_json())
        for rank, host in enumerate(network.hosts):
            own = {**os.environ, **environment(rank, ranks, port=port, threads=threads)}
            with (folder / f"rank-{rank}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        ["ip", "netns", "exec", host, *line],
                        env=own,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        _watch(running, folder, seconds=START + 3 * task.limit, what=f"{task.column}, {ranks} ranks, {link}")
        return [Measured(**json.loads((folder / f"measured-{rank}.json").read_text())) for rank in range(ranks)]


def _watch(running: Sequence["subprocess.Popen[bytes]"], folder: Path, *, seconds: float, what: str) -> None:
    """Waits for all to end well; says why not."""
    deadline = time.monotonic() + seconds
    while any(codes := [process.poll() for process in running]) or None in codes:
        for rank, code in enumerate(codes):
            if code:
                said = (folder / f"rank-{rank}.log").read_text(errors="replace")[-3000:]
                sys.exit(f"bench_links: {what}: rank {rank} ended with exit code {code}:\n{said}")
        if time.monotonic() > deadline:
            sys.exit(f"bench_links: {what}: not done after {seconds:.0f} s; raise --limit or lower --target")
        time.sleep(0.1)


def _end_all(running: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Asks whatever still runs to end, then kills it."""
    with undisturbed():
        for process in running:
            process.terminate()
        for process in running:
            end(process, signal.SIGTERM, 3.0)


def is_extrapolated(column: str, link: str, full: bool) -> bool:
    """Returns whether a dense exchange would only repeat, slowly, the steps that it has done on the unshaped link."""
    return column in (FP32, FP16) and link != UNSHAPED and not full


def summarised(
    column: str, *, ranks: int, link: str, batch: int, measured: Sequence[Measured], needed: int | None = None
) -> Row:
    """One row of the table.

    Args:
        column: What was measured.
        ranks: W.
        link: Rate.
        batch: B.
        measured: What each process saw.
        needed: Steps to the target that were counted on the unshaped link; None if they were counted on this one.
    """
    seconds, reached = measured[0].seconds, measured[0].reached
    steady = seconds[WARM_UP:]
    mean = statistics.fmean(steady)
    if needed is not None:
        reached, time_to_target = needed, needed * mean
    else:
        # The first steps compile, that with the first exchange of a round too.
        time_to_target = None if reached is None else WARM_UP * mean + sum(seconds[WARM_UP:reached])
    return {
        "ranks": ranks,
        "link": link,
        "what": column,
        "step_ms": round(1e3 * mean, 2),
        "median_step_ms": round(1e3 * statistics.median(steady), 2),
        "samples_per_second": round(ranks * batch / mean, 1),
        "KB_sent_a_step": round(statistics.fmean(each.sent / (len(each.seconds) - 1) for each in measured) / 1e3, 2),
        "steps_measured": len(steady),
        "accuracy": measured[0].accuracy,
        "steps_to_target": reached,
        "seconds_to_target": None if time_to_target is None else round(time_to_target, 2),
        "extrapolated": needed is not None,
    }


def bench(arguments: argparse.Namespace) -> Iterator[Row]:
    """Measures column by column, the unshaped link first; gives each row as soon as there is one."""
    for ranks in arguments.ranks:
        threads = arguments.threads or max(1, len(os.sched_getaffinity(0)) // ranks)
        batch = arguments.batch // ranks
        steps_needed: dict[str, int | None] = {}
        for link in sorted(set(arguments.rates), key=LINKS.index):
            for column in arguments.columns:
                short = is_extrapolated(column, link, arguments.full)
                task = _task(arguments, column, batch=batch, target=None if short else arguments.target)
                measured = run(task, ranks=ranks, link=link, threads=threads)
                needed = steps_needed.get(column) if short else None
                if link == UNSHAPED:
                    steps_needed[column] = measured[0].reached
                row = summarised(column, ranks=ranks, link=link, batch=batch, measured=measured, needed=needed)
                print(json.dumps(row), file=sys.stderr, flush=True)
                yield row


def _task(arguments: argparse.Namespace, column: str, *, batch: int, target: float | None) -> Task:
    return Task(
        column=column,
        batch=batch,
        rate=arguments.learning_rate,
        steps=WARM_UP + arguments.steps,
        target=target,
        every=arguments.every,
        limit=arguments.limit,
        folder="",
    )


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Reads the command line and checks what can be known before anything is made."""
    torch = [POWERSGD] if importlib.util.find_spec("torch") is not None else []
    columns = [FP32, FP16, SHARING, ROUNDS, *torch]
    parser = argparse.ArgumentParser(description="Step time, bytes and time to an accuracy on emulated links, as root.")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4], choices=(2, 4), help="processes")
    parser.add_argument("--rates", nargs="+", default=list(LINKS[:-1]), choices=LINKS, help="of each link")
    parser.add_argument("--columns", nargs="+", default=columns, choices=columns)
    parser.add_argument("--target", type=float, default=0.97, help="test accuracy")
    parser.add_argument("--steps", type=int, default=20, help="to measure where there is no training to the target")
    parser.add_argument("--every", type=int, default=20, help="steps between two evaluations")
    parser.add_argument("--batch", type=int, default=128, help="global")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=None, help="a process; by default its share of the cores")
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds of training a row")
    parser.add_argument("--full", action="store_true", help="train dense rows on shaped links to the target as well")
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    parser.add_argument("--plot", type=Path, default=None, help="also draw them there (.png; needs matplotlib)")
    arguments = parser.parse_args(words)
    if arguments.steps < 1 or arguments.every <= WARM_UP:
        parser.error(f"--steps must be >= 1 and --every > {WARM_UP}, the steps of the warm-up")
    if ROUNDS in arguments.columns and arguments.every % ROUND:
        parser.error(f"--every must be a multiple of the {ROUND} steps of a round, got {arguments.every}")
    if arguments.batch < max(arguments.ranks) or any(arguments.batch % ranks for ranks in arguments.ranks):
        parser.error(f"--batch is divided among the processes, got {arguments.batch}; use a multiple of 4")
    if arguments.threads is not None and arguments.threads < 1:
        parser.error(f"--threads must be >= 1, got {arguments.threads}")
    dense = any(
        is_extrapolated(column, link, arguments.full) for column in arguments.columns for link in arguments.rates
    )
    if dense and UNSHAPED not in arguments.rates:
        parser.error(f"dense rows on shaped links need the steps of --rates {UNSHAPED}; add it, or use --full")
    if arguments.plot is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib; type: pip install matplotlib")
    return arguments


def check_machine() -> None:
    """Namespaces need root, `ip` and `tc`; exits with one line if they are not there."""
    if os.geteuid() != 0:
        sys.exit("bench_links: network namespaces need root; run it with sudo")
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"bench_links: {' and '.join(missing)} not found; type: apt-get install iproute2")


def collected(measured: Iterable[Row], file: Path | None, *, bench_name: str, title: str) -> tuple[list[Row], int]:
    """Collects the rows of a bench and prints them; what was measured before a signal is shown as well.

    Args:
        measured: Gives each row as soon as there is one.
        file: Gets the rows as JSON; None for no file.
        bench_name: For messages.
        title: Of the table.

    Returns:
        The rows, and the exit code.
    """
    rows: list[Row] = []
    code = 0
    try:
        with signals_raise():
            for row in measured:
                rows.append(row)
                if file is not None:
                    file.write_text(json.dumps(rows, indent=2) + "\n")
    except Stopped as stopped:
        print(f"{bench_name}: stopped by {stopped.name}", file=sys.stderr)
        code = stopped.exit_code
    if rows:
        results_table(person_console(), title, rows)
    return rows, code


def main() -> int:
    """Runs the bench."""
    arguments = parse(sys.argv[1:])
    check_machine()
    title = f"emulated links, target accuracy {arguments.target:g}"
    rows, code = collected(bench(arguments), arguments.json, bench_name="bench_links", title=title)
    if arguments.plot is not None and rows:
        plot(rows, arguments.plot)
    return code


if __name__ == "__main__":
    sys.exit(main())
