"""The benchmark of embeddings: a small one, with every optimizer."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_it_compares_a_job_with_a_loop_by_hand() -> None:
    words = "--rows 50 --width 4 --batch 8 --rounds 1 --steps 1"
    done = subprocess.run(
        [sys.executable, "-m", "tfscale.scripts.bench.embedding", *words.split()],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("sgd", "nesterov", "adam", "by hand, ms", "tfscale, ms", "ratio"):
        assert name in done.stdout
