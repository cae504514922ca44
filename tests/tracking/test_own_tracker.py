"""A tracker of an installed package: the example of the documentation, offered by an entry point, needs no trust."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, write

BLOCKS = [block for block in blocks(ROOT / "docs" / "tracking.md") if block.heading == "A tracker of your own"]


@pytest.mark.slow
def test_an_installed_package_offers_a_tracker(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    (code,) = [block for block in BLOCKS if block.language == "python"]
    write(code, packages)
    (offer,) = [block.text for block in BLOCKS if block.language == "toml"]
    metadata = packages / "evaluations-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: evaluations\nVersion: 1.0\n")
    points = offer.replace('[project.entry-points."tfscale.plugins"]', "[tfscale.plugins]").replace('"', "")
    (metadata / "entry_points.txt").write_text(points)
    words = ("+tracker.mine._target_=evaluations.Evaluations", "data.validation=0.1", "train.steps=2", "run.name=one")
    done = subprocess.run(
        [sys.executable, "-m", "tfscale", "train", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "runs" / "one" / "evaluations.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["validation", "2"], ["test", "2"]]
    assert "warning" not in done.stdout
