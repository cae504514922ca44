"""Types of single values, of which the schemas are made.

The description of a type is the rule that messages quote: "KEY must be DESCRIPTION, got VALUE".
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
MOST = 10**9
"""Upper bound of whole numbers: a billion steps, examples or replicas is a typing error."""


def rule(text: str, **limits: Any) -> Any:
    """Returns a field with a description, which messages quote, and limits."""
    return Field(description=text, **limits)


Steps = Annotated[int, rule("a whole number of steps from 1 to 1e9", ge=1, le=MOST)]
OptionalSteps = Annotated[
    Annotated[int, Field(ge=1, le=MOST)] | None, rule("a whole number of steps from 1 to 1e9, or null")
]
AutoSteps = Annotated[
    Annotated[int, Field(ge=1, le=MOST)] | Auto, rule("a whole number of steps from 1 to 1e9, or auto")
]
Whole = Annotated[int, rule("a whole number from 1 to 1e9", ge=1, le=MOST)]
AutoWhole = Annotated[Annotated[int, Field(ge=1, le=MOST)] | Auto, rule("a whole number from 1 to 1e9, or auto")]
NotNegative = Annotated[int, rule("a whole number from 0 to 1e9", ge=0, le=MOST)]
Positive = Annotated[float, rule("a number > 0", gt=0)]
OptionalPositive = Annotated[Annotated[float, Field(gt=0)] | None, rule("a number > 0, or null")]
OptionalNotNegative = Annotated[Annotated[float, Field(ge=0)] | None, rule("a number >= 0, or null")]
Fraction = Annotated[float, rule("a number between 0 and 1, both excluded", gt=0, lt=1)]
Beta = Annotated[float, rule("a number >= 0 and < 1", ge=0, lt=1)]
OptionalFraction = Annotated[
    Annotated[float, Field(gt=0, lt=1)] | None, rule("a number between 0 and 1, both excluded, or null")
]
Density = Annotated[float, rule("a fraction > 0 and <= 1", gt=0, le=1)]
Bool = Annotated[bool, rule("true or false")]
Text = Annotated[str, rule("text", min_length=1)]
OptionalText = Annotated[str | None, rule("text, or null")]
Name = Annotated[
    str | None,
    rule("a folder name of letters, digits, - _ . (or null)", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
]
AutoShape = Annotated[
    list[Annotated[int, Field(ge=1, le=MOST)]] | Auto, rule("a list of whole numbers from 1 to 1e9, or auto")
]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=MOST)]], rule("a list of whole numbers from 1 to 1e9")]


class Table(BaseModel):
    """A node that takes no other keys than its fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NoOptions(Table):
    """A node with nothing but its `_target_`."""
