"""The way from raw values to the numbers of an example, where a source has learned one from its training examples.

Saved with a run, so that data that come later are read as its training data were: the same id for a token, the same
column for a category.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Texts as rows of ids; the tokens of the ids are the names of the input's spec.

    Attributes:
        unit: Of a token: words in lower case without punctuation, or characters as they are.
    """

    unit: Literal["words", "characters"]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Rows of a table as rows of numbers.

    Attributes:
        categories: Columns in their order -> categories, each a number 0 or 1; None for a column of numbers.
    """

    categories: Mapping[str, tuple[str, ...] | None]


Encoding: TypeAlias = Tokens | Columns
