"""Processor cores of this process: how many there are, and how the processes of a host divide them."""

import os
from contextlib import suppress
from pathlib import Path

_unbound: set[int] = set()
"""Cores that this process was allowed before it was bound to its share; empty if it was not bound."""


def count() -> int:
    """Number of cores that this process may use."""
    return len(_allowed())


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def bind_to_share(local_rank: int, local_size: int) -> None:
    """Binds this process, and the threads that it starts later, to its share of the machine's cores.

    Processes that wait for each other at every step are delayed when one runs on another's core: bound to their own,
    two that train LeNet are a tenth faster. A process that is not allowed all cores was bound by its launcher, or is
    confined to a part of the machine; it is left alone.
    """
    allowed = _allowed()
    if hasattr(os, "sched_setaffinity") and len(allowed) == os.cpu_count() and len(allowed) >= local_size:
        _unbound.update(allowed)
        ordered = sorted(allowed, key=_location)
        first, last = (rank * len(ordered) // local_size for rank in (local_rank, local_rank + 1))
        os.sched_setaffinity(0, ordered[first:last])


def release_thread() -> None:
    """Lets the calling thread run on all cores that its process was allowed before it was bound.

    Background work then uses a core whose process waits for the others, and delays nobody.
    """
    if _unbound:
        with suppress(OSError):  # cores may have been taken away since
            os.sched_setaffinity(0, _unbound)


def _location(core: int) -> tuple[int, int, int]:
    """Socket, physical core, logical core: neighbors in this order share most caches."""
    topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        socket, physical = (int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return 0, core, core
    return socket, physical, core
