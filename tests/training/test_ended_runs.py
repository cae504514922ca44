"""A run that has ended, resumed by a user."""

import subprocess
import sys
from pathlib import Path


def tfscale(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfscale", *words], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_run_that_has_ended_keeps_its_summary_when_it_is_resumed(tmp_path: Path) -> None:
    """It once ended with exit code 0, samples_per_second 0.0 in its summary, and no word."""
    words = ("strategy=local", "data=synthetic", "data.shape=[6]", "data.examples=64", "model.hidden=[4]")
    first = tfscale(tmp_path, "train", *words, "train.steps=6", "run.name=one")
    assert first.returncode == 0, first.stderr
    summary = (tmp_path / "runs" / "one" / "summary.json").read_bytes()
    again = tfscale(tmp_path, "resume", "one", "train.epochs=9")  # train.steps of the run decides
    assert again.returncode == 0, again.stderr
    assert "the run has ended after its 6 steps; nothing is left to train" in again.stdout
    fewer = tfscale(tmp_path, "resume", "one", "train.steps=3")
    assert fewer.returncode == 2
    assert "must give at least 6 steps, which the run has completed, got 3" in fewer.stderr
    assert (tmp_path / "runs" / "one" / "summary.json").read_bytes() == summary
