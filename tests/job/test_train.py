"""One process of a job: what it leaves behind when the run has ended."""

import io
import json
import os
from pathlib import Path

from rich.console import Console

from tests.support.forked_commands import forked
from tfscale.job import report
from tfscale.runs.run_directory import RunDirectory
from tfscale.strategies.gradient_sharing.measurements import measurements


def test_a_run_that_shared_leaves_its_pictures(tmp_path: Path) -> None:
    words = "strategy=sharing strategy/collective=in_process strategy.replicas=2 launch.np=1 train.steps=3 run.name=one"
    done = forked().completed(["train", *words.split()], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / "runs" / "one").glob("*.png"))
    assert [path.name for path in pictures] == ["strategy.png", "tensors.png"]
    assert "warning" not in done.stdout


def test_a_picture_that_fails_is_one_line_and_no_lost_run(tmp_path: Path) -> None:
    (tmp_path / "strategy.png").mkdir()
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"kind": "step", "step": 1, "density": 0.5}) + "\n")
    console = Console(file=io.StringIO(), width=400)
    report.draw(RunDirectory(tmp_path), console, measurements(goal=""))
    assert isinstance(console.file, io.StringIO)
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("warning: the run could not be drawn: IsADirectoryError: ")
