"""One process of a job: what it leaves behind when the run has ended."""

import io
import json
import os
import re
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
    assert [path.name for path in pictures] == ["curves.png", "strategy.png", "tensors.png"]
    assert "warning" not in done.stdout


def test_examples_that_are_left_out_are_in_the_closing_table_and_in_the_summary(tmp_path: Path) -> None:
    """A warning at the start has long scrolled away when a run ends."""
    rows = [f"{n},{n % 7},{n % 2}" for n in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *rows[:20], "1,2,3,4", "5", *rows[20:]]) + "\n")
    words = "data=table data.file=t.csv data.label=c data.on_error=skip strategy=local train.steps=3 run.name=one"
    done = forked().completed(["train", *words.split()], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())["skipped_examples"] == 2
    assert re.search(r"skipped examples +│ 2 \(they cannot be read\)", done.stdout)


def test_a_picture_that_fails_is_one_line_and_no_lost_run(tmp_path: Path) -> None:
    (tmp_path / "curves.png").mkdir()
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"kind": "step", "step": 1, "density": 0.5}) + "\n")
    console = Console(file=io.StringIO(), width=400)
    report.draw(RunDirectory(tmp_path), console, measurements(targets=()))
    assert isinstance(console.file, io.StringIO)
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("warning: the run could not be drawn: IsADirectoryError: ")
