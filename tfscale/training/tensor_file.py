"""One safetensors file, written without a copy of it in memory, and compared with what was meant."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, TensorSpec, serialize_file

from tfscale.training import durable

Arrays = Mapping[str, np.ndarray]
_START = 8
"""Bytes before a file's header, which hold its length."""


def write(path: Path, arrays: Arrays) -> str:
    """Writes a file out of the memory that the arrays are in, and compares it with them.

    To make its bytes in memory first would take as much processor time as to write them: pages that are got anew each
    time, for a thread's heap is given back as it is freed.

    Returns:
        The file's sha256 sum.

    Raises:
        OSError: It could not be written, or reads back as something else.
    """
    specs = {
        name: TensorSpec(dtype=each.dtype.name, shape=each.shape, data_ptr=each.ctypes.data, data_len=each.nbytes)
        for name, each in arrays.items()
    }
    with durable.written(path, lambda aside: _save(specs, aside)) as stream:
        start = stream.read(_START)
        header = stream.read(min(int.from_bytes(start, "little"), os.fstat(stream.fileno()).st_size))
        total = hashlib.sha256(start + header)
        for name in _order(header, specs):
            content = arrays[name].reshape(-1).view(np.uint8).data
            durable.expect(stream, content)
            total.update(content)
    return total.hexdigest()


def _save(specs: Mapping[str, TensorSpec], aside: Path) -> None:
    try:
        serialize_file(dict(specs), aside)
    except SafetensorError as error:
        raise OSError(str(error)) from None
    aside.chmod(aside.parent.stat().st_mode & 0o666)  # as the folder, and not for its owner alone


def _order(header: bytes, specs: Mapping[str, TensorSpec]) -> list[str]:
    """The tensors of a file in the order of their bytes.

    Raises:
        OSError: The header is not that of these tensors.
    """
    with suppress(ValueError, KeyError, TypeError):
        said = json.loads(header)
        order = sorted(specs, key=lambda name: said[name]["data_offsets"])
        ends = dict(zip(order, accumulate(specs[name].data_len for name in order), strict=True))
        if said == {
            name: {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [ends[name] - spec.data_len, ends[name]]}
            for name, spec in specs.items()
        }:
            return order
    raise OSError("the header of a file of tensors does not read back as it was written")
