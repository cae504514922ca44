"""Which devices this process's replicas run on.

TensorFlow fixes its devices at first use, so `claim` must come before any other TensorFlow call of the process: that is
why job.py starts with it.
"""

import os
from contextlib import suppress
from pathlib import Path

import tensorflow as tf


def visible_gpus() -> int:
    """Number of GPUs that TensorFlow can use."""
    return len(tf.config.list_physical_devices("GPU"))


def claim(replicas: int, *, local_rank: int = 0, local_size: int = 1, threads: int = 0) -> tuple[str, ...]:
    """Sets up and names one device for each replica of this process.

    With GPUs, the processes of a host divide them (rank `local_rank` takes every `local_size`-th), memory grows on
    demand, and replicas beyond the number of GPUs share them in turn. Without, each replica gets a logical CPU device,
    and the processes of a host divide the cores: each is bound to its own, unless the launcher has bound it.

    Args:
        replicas: How many replicas this process holds.
        local_rank: This process's number among those on this host.
        local_size: How many processes of the job run on this host.
        threads: That one operation may use on a CPU; 0 for as many as there are cores. Bits depend on it.

    Raises:
        RuntimeError: TensorFlow has been used in this process already.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        own = gpus[local_rank % len(gpus) :: local_size] or [gpus[local_rank % len(gpus)]]
        tf.config.set_visible_devices(own, "GPU")
        for gpu in own:
            tf.config.experimental.set_memory_growth(gpu, True)
        return tuple(f"/GPU:{replica % len(own)}" for replica in range(replicas))
    if local_size > 1:
        bind_to_own_cores(local_rank, local_size)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)])
    return tuple(f"/CPU:{replica}" for replica in range(replicas))


_unbound: set[int] = set()
"""The cores that this process was allowed before it was bound to its own; none if it was not."""


def cores() -> int:
    """Number of cores that this process may use."""
    return len(_allowed())


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def bind_to_own_cores(local_rank: int, local_size: int) -> None:
    """Binds this process to its share of the machine's cores.

    Processes that wait for each other at every step lose what one of them takes of another's core: two of LeNet are a
    tenth faster so. Threads that start from here on are bound too. A process that is not allowed all cores has been
    bound by its launcher, or is in a share of the machine that is not ours to cut.
    """
    allowed = _allowed()
    if hasattr(os, "sched_setaffinity") and len(allowed) == os.cpu_count() and len(allowed) >= local_size:
        _unbound.update(allowed)
        ordered = sorted(allowed, key=_place)
        os.sched_setaffinity(
            0, ordered[local_rank * len(ordered) // local_size : (local_rank + 1) * len(ordered) // local_size]
        )


def leave_own_cores() -> None:
    """Lets the calling thread run on all cores that its process had before it was bound.

    For work beside training: on a core whose process waits for the others it costs nobody anything.
    """
    if _unbound:
        with suppress(OSError):  # cores that are gone since
            os.sched_setaffinity(0, _unbound)


def _place(core: int) -> tuple[int, int, int]:
    """Socket, physical core, logical core: neighbours in this order share most."""
    topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        socket, physical = (int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return 0, core, core
    return socket, physical, core
