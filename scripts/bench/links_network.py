"""Network namespaces joined by a bridge, with shaped links: as if every process had a host of its own.

The bridge has a namespace too, so nothing appears in the machine's own network: addresses can be fixed, routes and
firewalls of the machine do not matter, no two benches meet, and removing the namespaces removes everything.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tfscale.estimate.link import parse_rate
from tfscale.launchers.rendezvous import serving
from tfscale.supervision.signals import ENDING, Stopped

INTERFACE = "eth0"
"""The one interface of a process's namespace, besides loopback."""

UNSHAPED = "none"

NETWORK = "198.18.0"
"""Of the range that RFC 2544 keeps for benchmarks."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Names of one emulated network.

    Attributes:
        switch: Namespace of the bridge.
        hosts: Namespaces of the processes, by rank.
    """

    switch: str
    hosts: tuple[str, ...]


def named(ranks: int, pid: int) -> Network:
    """A network whose names carry the pid of its bench."""
    return Network(switch=f"tfscale-{pid}-switch", hosts=tuple(f"tfscale-{pid}-{rank}" for rank in range(ranks)))


def address(rank: int | None) -> str:
    """Of a process, or of the bridge (None)."""
    return f"{NETWORK}.{1 if rank is None else rank + 2}"


def burst(link: str) -> str:
    """Bytes that pass a link at once: those of 10 ms, but at least 64 KiB; with less a link is slower than its rate."""
    return f"{min(256 * 1024, max(64 * 1024, int(0.01 * parse_rate('--rates', link))))}b"


def commands(network: Network, link: str) -> list[list[str]]:
    """Returns the commands that make the network; each link is shaped at both ends."""
    switch = network.switch
    lines = [
        f"ip netns add {switch}",
        f"ip -n {switch} link add br0 type bridge",
        f"ip -n {switch} addr add {address(None)}/24 dev br0",
        f"ip -n {switch} link set br0 up",
    ]
    for rank, host in enumerate(network.hosts):
        lines += [
            f"ip netns add {host}",
            f"ip -n {switch} link add port{rank} type veth peer name {INTERFACE} netns {host}",
            f"ip -n {switch} link set port{rank} master br0 up",
            f"ip -n {host} addr add {address(rank)}/24 dev {INTERFACE}",
            f"ip -n {host} link set {INTERFACE} up",
            f"ip -n {host} link set lo up",
        ]
        if link != UNSHAPED:
            for where, device in ((switch, f"port{rank}"), (host, INTERFACE)):
                shape = f"root tbf rate {link} burst {burst(link)} latency 50ms"
                lines.append(f"tc -n {where} qdisc add dev {device} {shape}")
    return [line.split() for line in lines]


def _call(command: Sequence[str], *, check: bool = True) -> None:
    """Runs a short command out of reach of Ctrl-C, which is for this process to act on."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, start_new_session=True)
    if check and done.returncode:
        sys.exit(f"bench_links: `{' '.join(command)}` failed: {done.stderr.strip()}")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that ask for the end are obeyed after the block: a clean-up is not left half-way."""
    late: list[int] = []
    before = {number: signal.signal(number, lambda got, _: late.append(got)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if late:
        raise Stopped(late[0])


@contextmanager
def emulated(ranks: int, link: str) -> Iterator[Network]:
    """The network, while the block runs; its links go with its namespaces."""
    network = named(ranks, os.getpid())
    try:
        for command in commands(network, link):
            _call(command)
        yield network
    finally:
        with undisturbed():
            for name in (*network.hosts, network.switch):
                _call(["ip", "netns", "del", name], check=False)


@contextmanager
def rendezvous(network: Network) -> Iterator[int]:
    """Serves Horovod's key-value store at the bridge's address; gives its port."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    def inside() -> RendezvousHTTPServer:
        """A socket belongs to the namespace of the thread that made it."""

        new_network = 0x40000000
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{network.switch}") as namespace:
            if libc.setns(namespace.fileno(), new_network):
                sys.exit(f"bench_links: cannot enter a namespace: {os.strerror(ctypes.get_errno())}")
        return RendezvousHTTPServer((address(None), 0), RendezvousHandler, 0)

    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(inside).result(timeout=60)
    ranks = len(network.hosts)
    with serving(server, ",".join(f"{address(rank)}:1" for rank in range(ranks)), ranks) as port:
        yield port
