"""The time of a step, from what a replica computes and what it exchanges.

A step takes what was measured without a network, plus the time of its exchanges on the link. Horovod exchanges by
rings: an allreduce of n bytes sends 2 (W - 1) / W n from every machine in 2 (W - 1) turns, a gather of messages of n
bytes sends (W - 1) n in W - 1 turns. Before each, the processes agree that all are ready, in log2(W) turns there and
back.

Steps do not all take the same time, and an exchange waits for the slowest replica. So the time between two exchanges is
the expected largest of W times, each drawn from those that were measured.

It assumes one replica a machine, a switch that is never the bottleneck, and that nothing else uses the link.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tfscale.collectives.traffic import Traffic
from tfscale.estimate.link import Link, Transport

FRAMES = 1514 / 1448
"""Bytes on Ethernet for each byte that TCP carries, in full frames."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The measured costs of a step of one replica on this machine, without a network.

    Attributes:
        rounds: Seconds of a step with a single replica, its own message included; one value for each round of steps
            between two exchanges that was measured.
        seconds_a_peer: For the message of each further replica.
        traffic: Of a replica.
    """

    rounds: Sequence[float]
    seconds_a_peer: float
    traffic: Sequence[Traffic]

    @property
    def seconds(self) -> float:
        """Mean seconds of a step with a single replica."""
        return statistics.fmean(self.rounds)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The step of a job.

    Attributes:
        seconds: Of a step, on average.
        sent: Bytes that a replica sends in a step, on average.
        efficiency: Samples per second and replica, over those of one replica that exchanges nothing.
    """

    seconds: float
    sent: float
    efficiency: float


def estimate(costs: Costs, *, alone: float, ranks: int, link: Link, transport: Transport) -> Estimate:
    """Predicts a step.

    Args:
        costs: Of the strategy.
        alone: Seconds of a step of one replica that exchanges nothing.
        ranks: W.
        link: Between any two replicas.
        transport: Of their processes.
    """
    computing = expected_largest(costs.rounds, ranks) + costs.seconds_a_peer * (ranks - 1)
    waits = sum(
        exchange_seconds(each, ranks, link, transport) / each.every for each in costs.traffic if not each.is_hidden
    )
    hidden = sum(
        exchange_seconds(each, ranks, link, transport) / each.every for each in costs.traffic if each.is_hidden
    )
    seconds = max(computing, hidden) + waits
    sent = sum(sent_bytes(each, ranks) / each.every for each in costs.traffic)
    return Estimate(seconds=seconds, sent=sent, efficiency=alone / seconds)


def expected_largest(values: Sequence[float], draws: int) -> float:
    """Returns the expected largest of so many independent draws from the values."""
    ordered, count = sorted(values), len(values)
    chances = [(number / count) ** draws for number in range(count + 1)]
    return sum(value * (high - low) for value, low, high in zip(ordered, chances, chances[1:], strict=False))


def sent_bytes(traffic: Traffic, ranks: int) -> float:
    """Returns the bytes that a replica sends in one exchange."""
    shares = {"mean": 2 * (ranks - 1) / ranks, "gather": ranks - 1, "scatter": 1}
    return 4 * traffic.words * shares[traffic.kind]


def turns(kind: Literal["mean", "gather", "scatter"], ranks: int) -> int:
    """Returns how many messages follow each other in one exchange, the agreement before it included."""
    return (2 if kind == "mean" else 1) * (ranks - 1) + 2 * math.ceil(math.log2(ranks))


def exchange_seconds(traffic: Traffic, ranks: int, link: Link, transport: Transport) -> float:
    """Returns the duration of one exchange between `ranks` replicas."""
    if ranks == 1:
        return 0.0
    waiting = turns(traffic.kind, ranks) * link.latency
    return sent_bytes(traffic, ranks) * (FRAMES / link.bandwidth + transport.seconds_a_byte) + waiting + transport.call


def needed_bandwidth(
    costs: Costs, *, alone: float, ranks: int, latency: float, transport: Transport, efficiency: float
) -> float:
    """Returns the least bandwidth, in bytes per second, that gives an efficiency; infinity if none is enough."""

    def reaches(bandwidth: float) -> bool:
        link = Link(bandwidth=bandwidth, latency=latency)
        reached = estimate(costs, alone=alone, ranks=ranks, link=link, transport=transport)
        return reached.efficiency >= efficiency

    low, high = 1.0, 1e14
    if not reaches(high):
        return math.inf
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high
