"""The keys of `tfscale evaluate`, which belong to the command and to no run's configuration."""

from typing import Annotated, Literal

from pydantic import Field

from tfscale.config.schemas.fields import MOST, Fraction, OptionalText, Table, Whole, rule

BLOCK = 64
"""Examples that go through the model together; see training/scored_pass.py."""


class EvaluationOptions(Table):
    """Keys after `evaluation.`, and `evaluation` itself as `suites`."""

    suites: Annotated[
        Literal["auto"] | Annotated[list[str], Field(min_length=1)],
        rule("a list of suites, [classification,roc], or auto"),
    ] = "auto"
    by: OptionalText = None
    threshold: Fraction = 0.5
    top_k: Whole = 5
    batch: Annotated[int, rule(f"a multiple of {BLOCK}", ge=BLOCK, le=MOST, multiple_of=BLOCK)] = 4 * BLOCK
    checkpoint: Annotated[Literal["newest", "best"], rule("newest or best")] = "newest"
