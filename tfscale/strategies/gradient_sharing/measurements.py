"""Describes the figures of gradient sharing for log lines, tables and plots."""

from tfscale.tracking.base import Measurement, Measurements

TIMES = "milliseconds a step"


def measurements(*, goal: str) -> Measurements:
    """Returns the description of each figure that the strategy measures.

    Args:
        goal: What the density is steered to; empty for nothing.
    """
    return {
        "density": Measurement(
            label="density",
            goal=goal,
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
