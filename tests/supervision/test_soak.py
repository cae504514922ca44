"""Threshold sharing between three real processes, with every tenth step poisoned in one of them.

TFSCALE_SOAK_STEPS sets another length. Every message carries a digest of its rank's parameters and is refused if it
differs from rank 0's, so a run that ends has had equal parameters at every step.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.horovod

STEPS = int(os.environ.get("TFSCALE_SOAK_STEPS", "600"))
POISONS = ("nan", "inf", "1e38", "1e-40")
MODULE = f"""
import tensorflow as tf
from tfscale.data.sources.digits import digits
from tfscale.data.arrays import source_of
from tfscale.data.pipeline import IndexedData

POISONS = {POISONS!r}

class Poisoned(IndexedData):
    def train(self, shard, **settings):
        for step, (x, y, weight) in enumerate(super().train(shard, **settings), settings["start"]):
            if step % 10 == 9 and step // 10 % 3 == shard.rank:
                weight = weight * float(POISONS[step // 30 % len(POISONS)])
            yield x, y, weight

def poisoned():
    return Poisoned(source_of(digits(test_fraction=0.2)))
"""


@pytest.mark.slow
def test_poison_in_any_rank_is_skipped_by_all(tmp_path: Path) -> None:
    (tmp_path / "poison.py").write_text(MODULE)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "poisoned.yaml").write_text("_target_: poison.poisoned\n")
    words = [
        *("--config-dir", "conf", "trust=[poison]", "data=poisoned", "strategy=sharing", "launch.np=3"),
        *(f"train.steps={STEPS}", "train.epochs=null", f"train.evaluate_every={STEPS}"),
        *(f"train.checkpoint_every={STEPS}", "run.name=soak"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tfscale", "train", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300 + STEPS // 10,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "soak"
    summary = json.loads((run / "summary.json").read_text())
    poisoned = [POISONS[step // 30 % len(POISONS)] for step in range(9, STEPS, 10)]
    assert summary["skipped_steps"] == len([each for each in poisoned if each != "1e-40"]) > STEPS / 20
    assert f"skipped steps   │ {summary['skipped_steps']}" in done.stdout
    assert summary["accuracy"] > 0.9
    for rank in range(3):
        log = (run / "logs" / f"rank-{rank}.log").read_text()
        assert f"rank {rank} ended well; parameters {summary['parameters_sha256']}" in log
        arrays = load_file(run / "checkpoints" / f"step-{STEPS:09d}" / f"replica-{rank:04d}.safetensors")
        for name in ("strategy/residual", "strategy/velocity"):
            assert np.isfinite(arrays[name]).all()
            assert np.abs(arrays[name]).max() < 1e6, "nothing of the poison is left"
