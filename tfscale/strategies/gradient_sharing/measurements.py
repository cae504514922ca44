"""Describes the figures of gradient sharing for log lines, tables and plots; no TensorFlow."""

from collections.abc import Sequence

from tfscale.tracking.base import Measurement, Measurements

TIMES = "milliseconds a step"


def measurements(*, targets: Sequence[float]) -> Measurements:
    """Returns the description of each figure that the strategy measures.

    Args:
        targets: What the density is steered to: one, a lower and an upper bound, or none.
    """
    return {
        "density": Measurement(
            label="density",
            goal=f"target {' to '.join(f'{each:g}' for each in targets)}" if targets else "",
            targets=tuple(targets),
            line="density {:.2e}",
            averaged=True,
            panel="density: elements sent / all",
            log_scale=True,
            of_tensors=True,
        ),
        "threshold": Measurement(label="threshold", panel="threshold", of_tensors=True),
        "residual_ratio": Measurement(label="residual ratio", panel="largest |residual| / threshold", of_tensors=True),
        "bytes_sent": Measurement(
            label="bytes sent", unit="B", panel="bytes sent a step, all replicas here", total=True
        ),
        "encode_ms": Measurement(label="encode", unit="ms", averaged=True, panel=TIMES),
        "exchange_ms": Measurement(label="exchange", unit="ms", averaged=True, panel=TIMES),
        "decode_ms": Measurement(label="decode", unit="ms", averaged=True, panel=TIMES),
    }
