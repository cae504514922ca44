"""Names of slices: they are the keys of evaluation.json, where two of one name overwrote each other."""

import math

import numpy as np
import pytest

from tfscale.errors import UserError
from tfscale.job.slices import names_of_classes, names_of_numbers


def test_numbers_that_are_equal_to_12_digits_have_names_of_their_own() -> None:
    near = np.array([0.1, np.nextafter(0.1, 1), 0.5, math.nan])
    assert names_of_numbers(near) == ("0.1", "0.10000000000000002", "0.5", "missing")
    assert names_of_numbers(np.array([0.1 + 0.2, 3.0])) == ("0.3", "3")


def test_classes_of_one_name_are_told_apart_by_their_numbers() -> None:
    assert names_of_classes(("cat", "dog", "cat")) == ("cat (0)", "dog", "cat (2)")
    assert names_of_classes(("cat", "dog")) == ("cat", "dog")
    with pytest.raises(UserError, match=r"evaluation\.by=target must have a name of its own for each class, got cat, "):
        names_of_classes(("cat", "cat (0)", "cat"))
