"""The forecast of a job: each strategy at each number of replicas, as the rows of a table and a few sentences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfscale.estimate.link import Link, Transport
from tfscale.estimate.model import Costs, Estimate, estimate, needed_bandwidth

WORTHWHILE = 0.9
"""Efficiency with which a job is said to scale."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Length:
    """The length of a job.

    Attributes:
        steps: Optimizer steps, whatever the number of replicas; None if epochs count.
        epochs: Passes through the training examples; None if steps count.
        examples: Number of training examples.
        batch: Examples of a step and replica.
    """

    steps: int | None
    epochs: float | None
    examples: int
    batch: int

    def steps_with(self, ranks: int) -> int:
        """Returns the optimizer steps of a job of so many replicas."""
        if self.steps is not None:
            return self.steps
        return max(1, round((self.epochs or 1) * -(-self.examples // (self.batch * ranks))))


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The prediction for a job, from the measured costs of each strategy.

    Attributes:
        costs: Of each strategy, by its name.
        link: Between the replicas.
        transport: Of their processes.
        ranks: Numbers of replicas, ascending.
        length: Of the job.
        price: Of a replica and hour; None for none.
    """

    costs: Mapping[str, Costs]
    link: Link
    transport: Transport
    ranks: Sequence[int]
    length: Length
    price: float | None

    @property
    def alone(self) -> float:
        """Seconds of a step of a replica without peers: the shortest of all strategies."""
        return min(each.seconds for each in self.costs.values())

    def estimates(self, ranks: int) -> dict[str, Estimate]:
        """Returns the estimate of each strategy."""
        return {
            name: estimate(costs, alone=self.alone, ranks=ranks, link=self.link, transport=self.transport)
            for name, costs in self.costs.items()
        }

    def fastest(self, ranks: int) -> str:
        """Returns the strategy with the shortest step; of equal ones the first."""
        estimates = self.estimates(ranks)
        return min(estimates, key=lambda name: estimates[name].seconds)

    def rows(self) -> list[Row]:
        """Returns a row for each number of replicas and strategy, with seconds of the whole job."""
        rows = []
        for ranks in self.ranks:
            best, steps = self.fastest(ranks), self.length.steps_with(ranks)
            for name, each in self.estimates(ranks).items():
                seconds = each.seconds * steps
                row: dict[str, object] = {
                    "ranks": ranks,
                    "strategy": name,
                    "step_seconds": each.seconds,
                    "bytes_a_step": each.sent,
                    "efficiency": each.efficiency,
                    "samples_per_second": ranks * self.length.batch / each.seconds,
                    "steps": steps,
                    "seconds": seconds,
                    "fastest": name == best,
                }
                if self.price is not None:
                    row["cost"] = self.price * ranks * seconds / 3600
                rows.append(row)
        return rows

    def needs(self, ranks: int) -> dict[str, float]:
        """Returns the bandwidth, in bytes per second, that each strategy needs to scale; infinity if none is enough."""
        return {
            name: needed_bandwidth(
                costs,
                alone=self.alone,
                ranks=ranks,
                latency=self.link.latency,
                transport=self.transport,
                efficiency=WORTHWHILE,
            )
            for name, costs in self.costs.items()
        }


def rate(bandwidth: float) -> str:
    """Returns bytes per second as a rate of bits: 12.5e6 -> 100 Mbit/s, infinity -> no limit."""
    bits = 8 * bandwidth
    if math.isinf(bits):
        return "no limit"
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6)):
        if bits >= size:
            return f"{bits / size:.3g} {unit}"
    return f"{bits / 1e3:.3g} kbit/s"
