"""The majority vote in Python: which replica differs from the others.

Every message that names a differing replica uses it; `digest.usual` is the same vote on tensors.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def majority(values: Iterable[Value]) -> Value:
    """Most frequent of the values, of which there is at least one; on a tie the first to occur.

    Example:
        >>> majority([3, 5, 5])
        5
    """
    return Counter(values).most_common(1)[0][0]
