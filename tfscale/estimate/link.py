"""Links between replicas, as users write them: 100Mbit, 1ms."""

import math
import re
from dataclasses import dataclass

from tfscale.errors import UserError

BITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
"""Unit of a rate -> bits per second; `ip link` and `tc` have the same ones."""

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


RESULT = "link.json"
"""The file with a `Transport` that processes leave in their folder."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """The connection of each replica's machine to the switch that all are connected to.

    Attributes:
        bandwidth: Bytes per second that leave a machine, and as many that arrive at the same time.
        latency: Seconds from one machine to another.
    """

    bandwidth: float
    latency: float


@dataclass(frozen=True, kw_only=True)
class Transport:
    """The costs of an exchange for the processes themselves, whatever the link.

    Attributes:
        call: Seconds of an exchange of a few bytes.
        seconds_a_byte: For each further byte that a replica sends, and another that it receives.
    """

    call: float
    seconds_a_byte: float


def parse_rate(key: str, text: str) -> float:
    """Returns bytes per second of a rate such as 100Mbit.

    Args:
        key: The setting, for the message.
        text: Its value.

    Raises:
        UserError: It is not a rate above 0.
    """
    return _parse(key, text, BITS, "a rate: 100Mbit, 1Gbit or 500kbit") / 8


def parse_seconds(key: str, text: str) -> float:
    """Returns the seconds of a time such as 1ms; 0 or more.

    Raises:
        UserError: It is not a time.
    """
    return 0.0 if text == "0" else _parse(key, text, SECONDS, "a time: 1ms, 50us or 0")


def _parse(key: str, text: str, units: dict[str, float], rule: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text.strip())
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None or not 0 < float(match[1]) * unit < math.inf:
        raise UserError(f"{key} must be {rule}, got {text}")
    return float(match[1]) * unit
