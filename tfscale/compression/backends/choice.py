"""Which compressor a replica's devices and this installation allow."""

from collections.abc import Sequence
from typing import Literal

from tfscale.compression.backends.base import Compressor, Spec
from tfscale.compression.backends.native import Native
from tfscale.compression.backends.reference import Reference
from tfscale.errors import UserError
from tfscale.kernels import library


def choose(kernel: Literal["auto", "native", "plain"], spec: Spec, devices: Sequence[str]) -> Compressor:
    """Returns the native compressor if it is wanted and can be had, else the plain one.

    Args:
        kernel: `auto` takes native where it works.
        rule: For either.
        devices: Of this process's replicas.

    Raises:
        UserError: `native` is demanded and cannot be had.
    """
    if kernel == "plain":
        return Reference(spec)
    on_cpu = all("CPU" in device.upper() for device in devices)
    built = library.load() is not None
    if on_cpu and built:
        return Native(spec)
    if kernel == "native":
        why = f"is not built; type: {library.BUILD}" if on_cpu else "runs on CPU devices only; set strategy.kernel=auto"
        raise UserError(f"strategy.kernel=native: the native kernel {why}")
    return Reference(spec)
