"""The benchmark of input: its rivals read the same examples as tfscale, its ratios, and one short run."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tfscale.scripts.bench.input import CASES, config_of
from tfscale.scripts.bench.input_speed import Speed, compared

from tfscale.data.base import Shard
from tfscale.job.build_data import build_data

N, BATCH = 32, 8
ALIASED = "decode, resize without antialias"


def ordered(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts examples by label, then by the values that differ most."""
    flat = x.reshape(len(x), -1)
    order = np.lexsort((flat.mean(axis=1), y))
    return flat[order], y[order]


@pytest.mark.parametrize("source", CASES)
def test_rivals_read_the_same_examples(tmp_path: Path, source: str) -> None:
    """float32 and int64, in an order of their own; tfscale rounds resized images to bytes."""
    case = CASES[source]
    data = build_data(config_of(case.write(tmp_path, N), case.model, BATCH)).data
    own = itertools.islice(data.train(Shard(0, 1), batch=BATCH, seed=0, start=0, prefetch=2), N // BATCH)
    xs, ys, _ = zip(*own, strict=True)
    x, y = ordered(np.concatenate(xs), np.concatenate(ys))
    for name, peer in case.peers.items():
        theirs = list(itertools.islice(peer(tmp_path, BATCH), N // BATCH))
        found, labels = ordered(*(np.concatenate([batch[part].numpy() for batch in theirs]) for part in (0, 1)))
        assert (found.dtype, labels.dtype, found.shape) == (np.float32, np.int64, x.shape), name
        np.testing.assert_array_equal(labels, y)
        tolerance = {"images": 0.51 / 255}.get(source, 1e-6)  # half a step of a byte
        if name != ALIASED:
            np.testing.assert_allclose(found, x, atol=tolerance, err_msg=name)


def test_ratios_are_those_of_a_round() -> None:
    found = {
        "tfscale": [Speed(100.0, 50.0), Speed(10.0, 60.0), Speed(300.0, 70.0)],
        "slices": [Speed(200.0, 100.0), Speed(10.0, 100.0), Speed(150.0, 100.0)],
    }
    assert compared("arrays", found) == [
        {
            "source": "arrays",
            "by_hand": "slices",
            "tfscale_per_second": 100,
            "by_hand_per_second": 150,
            "ratio": 1.0,
            "lowest": 0.5,
            "highest": 2.0,
            "ratio_of_processor_time": 0.6,
        }
    ]


@pytest.mark.slow
def test_a_run_measures_each_rival_and_the_time_that_a_job_waits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tfscale.scripts.bench.input", "--sources", "tfrecord_rows", "arrays"]
    command += ["--rounds=1", "--seconds=0.01", "--examples=64", "--batch=8", "--wait-steps=2"]
    done = subprocess.run(
        [*command, f"--json={tmp_path / 'rows.json'}"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["by_hand"] for row in rows["ratios"]] == ["TFRecordDataset, parse", "slices", "gather"]
    assert all(row["ratio"] > 0 and row["ratio_of_processor_time"] > 0 for row in rows["ratios"])
    assert [row["model"] for row in rows["waiting"]] == ["mlp", "cnn"]
    assert all(0 <= float(row["waiting_share"].rstrip("%")) < 100 for row in rows["waiting"])
