"""Layout of examples in records: the feature that each tensor is, and its encoding; no TensorFlow.

An encoding must give every value back exactly in its dtype. tf.train.Example has float32 and int64 only, so what does
not fit into them is written as bytes; images are PNG, which loses nothing and is smaller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tfscale.errors import UserError
from tfscale.specs import Nested, leaves, renested

WEIGHT = "weight"
"""Feature of the weight of an example."""


class Encoding(Enum):
    """Form of a tensor in an example."""

    FLOAT = "float_list"
    INT = "int64_list"
    PNG = "png"
    RAW = "little_endian_bytes"
    IMAGE = "jpeg_or_png"
    """Only in files of others: an image file of any size."""
    BYTES = "bytes"
    """Only in files of others: bytes as they are, such as the name of a class."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One tensor of an example.

    Attributes:
        key: Of the feature in tf.train.Example.
        shape: Of one example.
        dtype: NumPy's name of the values.
        encoding: Of the values.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    encoding: Encoding


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The features of an example.

    Attributes:
        x: Inputs.
        y: Targets; None if records have none.
        weighted: Whether there is a weight.
    """

    x: Nested[Feature]
    y: Nested[Feature] | None
    weighted: bool = False

    @property
    def features(self) -> Sequence[Feature]:
        """All features, inputs first."""
        weight = Feature(key=WEIGHT, shape=(), dtype="float32", encoding=Encoding.FLOAT)
        targets = () if self.y is None else leaves(self.y).values()
        return (*leaves(self.x).values(), *targets, *((weight,) if self.weighted else ()))


def encoding_of(dtype: np.dtype, shape: Sequence[int]) -> Encoding:
    """Returns the encoding that keeps all values of a dtype.

    Raises:
        UserError: The values are not real numbers.
    """
    if dtype.name == "uint8" and len(shape) == 3 and shape[-1] in (1, 3):
        return Encoding.PNG
    if dtype.name == "float32":
        return Encoding.FLOAT
    if dtype.kind in "bi" or (dtype.kind == "u" and dtype.itemsize < 8):
        return Encoding.INT
    if dtype.kind in "uf" and dtype.itemsize <= 8:
        return Encoding.RAW
    raise UserError(f"data: a tensor must have real numbers of at most 64 bits to be exported, got {dtype}; convert it")


def features_of(prefix: str, tensors: Nested[np.ndarray]) -> Nested[Feature]:
    """Returns the features of tensors [b, ...]: "x" for one, "x.left" for a part of several.

    Args:
        prefix: x or y.
        tensors: A batch of examples.
    """
    named: Mapping[str, np.ndarray] = leaves(tensors)
    made = {
        name: Feature(
            key=f"{prefix}.{name}" if name else prefix,
            shape=part.shape[1:],
            dtype=part.dtype.name,
            encoding=encoding_of(part.dtype, part.shape[1:]),
        )
        for name, part in named.items()
    }
    return renested(made, tensors)
