"""The traffic of a strategy: what one replica exchanges, and how often; no TensorFlow."""

from dataclasses import dataclass
from typing import Literal

SCATTER_FROM = 32
"""Replicas from which on each adds a part of the elements, unless it is said: fewer bytes, not always less time."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """One exchange that a replica takes part in again and again.

    Attributes:
        kind: `mean`: an allreduce of a vector that has this length in all replicas. `gather`: every replica gets the
            messages of all others. `scatter`: every replica gets a part of the messages of all others.
        words: Length of the replica's vector or message, in 32-bit words; of a scatter, of what it sends.
        every: Optimizer steps between two exchanges.
        is_hidden: Whether replicas compute their next step meanwhile.
    """

    kind: Literal["mean", "gather", "scatter"]
    words: float
    every: int = 1
    is_hidden: bool = False
