"""Options of how a replica computes its gradients; none of them changes what strategies exchange."""

from dataclasses import dataclass

from tfscale.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Computation:
    """The computation of one replica's step.

    Attributes:
        precision: Of layers.
        accumulate: Number of parts that a batch is computed in, one after another (see `accumulation`).
        jit_compile: Whether XLA compiles loss and gradients.
        ema: Momentum of the average of weights (see `weight_average`); None for none.
    """

    precision: Precision = "float32"
    accumulate: int = 1
    jit_compile: bool = False
    ema: float | None = None


DEFAULT = Computation()
"""Float32, whole batches, and neither XLA nor an average."""
