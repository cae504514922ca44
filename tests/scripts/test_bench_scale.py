"""The bench of many replicas: real gradients, and the same sum on both ways."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from tfscale.scripts.bench import scale

from tfscale.job.build import Job


def test_a_few_replicas_are_measured(
    build_job: Callable[..., Job], small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build_job  # it has claimed the devices
    monkeypatch.setenv("TFSCALE_DATA", str(small_data))
    for name in ("TRAINED", "STEPS", "REPEATS"):
        monkeypatch.setattr(scale, name, 2)
    few, more = scale.bench(argparse.Namespace(ranks=[2, 3], density=0.01))
    assert few["ranks"] == 2
    assert few["ring_bytes"] == 4
    assert 0.005 < few["density"] < 0.02
    bits = 8 * few["gathered_bytes"] / few["density"]
    assert 6 < bits < 13, "of an element, which takes about log2(1 / density) + 2.5"
    assert few["gathered_bytes"] < few["divided_bytes"], "parts and sums have headers"
    assert more["gathered_bytes"] > few["gathered_bytes"]
