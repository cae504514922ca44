"""Selects the backend that the replicas' devices and this installation allow."""

from collections.abc import Sequence
from typing import Literal

from tfscale.compression.backends.base import Backend, Spec
from tfscale.compression.backends.native import Native
from tfscale.compression.backends.reference import Reference
from tfscale.errors import UserError
from tfscale.kernels import library

Kernel = Literal["auto", "native", "reference"]


def select(kernel: Kernel, spec: Spec, devices: Sequence[str]) -> Backend:
    """Returns the native backend if it is asked for or works, else the reference.

    Args:
        kernel: `auto` takes native where it works.
        spec: Settings of the exchange.
        devices: Devices of this process's replicas.

    Raises:
        UserError: `native` is demanded and does not work here.
        ValueError: `kernel` is none of the three.
    """
    if kernel not in ("auto", "native", "reference"):
        raise ValueError(f"strategy.kernel must be auto, native or reference, got {kernel}")
    if kernel == "reference":
        return Reference(spec)
    on_cpu = all("CPU" in device.upper() for device in devices)
    if on_cpu and library.load() is not None:
        return Native(spec)
    if kernel == "native":
        why = f"is not built; type: {library.BUILD}" if on_cpu else "runs on CPU devices only; set strategy.kernel=auto"
        raise UserError(f"strategy.kernel=native: the native kernel {why}")
    return Reference(spec)
