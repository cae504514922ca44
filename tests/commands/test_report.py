"""tfscale report: which runs a name means, where the page goes, and what it says of mistakes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.run_folders import ended_run, new_run, sweep_of_six
from tfscale import cli


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `runs` of two runs and a sweep, in the present folder."""
    monkeypatch.chdir(tmp_path)
    ended_run(tmp_path / "runs", "one")
    ended_run(tmp_path / "runs", "two", "train.batch=8")
    sweep_of_six(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("words", "page", "title"),
    [
        (["one"], "runs/one/report.html", "one"),
        (["runs/one"], "runs/one/report.html", "one"),
        (["one", "one"], "runs/one/report.html", "one"),
        (["one", "two"], "runs/report.html", "Comparison of 2 runs"),
        (["sweep"], "runs/sweep/report.html", "sweep sweep"),
        (["runs/sweep"], "runs/sweep/report.html", "sweep sweep"),
        (["sweep/job-003"], "runs/sweep/job-003/report.html", "sweep/job-003"),
        (["job-003"], "runs/sweep/job-003/report.html", "sweep/job-003"),
        (["sweep", "one"], "runs/report.html", "Comparison of 7 runs"),
        (["one", "to=my page.html"], "my page.html", "one"),
        (["one", "to=$HOME.html"], "$HOME.html", "one"),
    ],
)
def test_a_name_means_a_run_several_or_a_sweep(
    runs: Path, capsys: pytest.CaptureFixture[str], words: list[str], page: str, title: str
) -> None:
    assert cli.main(["report", *words]) == 0
    assert capsys.readouterr().out.strip().endswith(page)
    assert f"<title>{title}</title>" in (runs.parent / page).read_text()


def test_without_a_name_the_newest_run_is_meant(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_run(runs, "newest")
    assert cli.main(["report", f"run.dir={runs}"]) == 0
    assert capsys.readouterr().out.strip() == f"{runs}/newest/report.html"


def test_a_run_in_training_can_be_reported(runs: Path) -> None:
    from tfscale.runs.run_directory import RunDirectory

    with RunDirectory(runs / "one").locked():
        assert cli.main(["report", "one"]) == 0
    assert 'state-training">training<' in (runs / "one" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["three"], r"run three does not exist in runs; runs there: one, two"),
        (["one", "too=x"], r"report takes to=FILE.html and run.dir=DIR, got too=x; type: tfscale report --help"),
        (["one", "to=runs"], r"to must be a file, got runs, which is a folder; type to=runs/report.html"),
        (["one", "to=none/x.html"], r"to=none/x.html cannot be written \(No such file or directory\); name another"),
        (["--fast"], r"--fast is not an option of this command; type: tfscale report --help"),
        (["run.dir=empty"], r"there are no runs in empty; type tfscale train"),
    ],
)
def test_a_mistake_is_one_line(runs: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert cli.main(["report", *words]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_a_page_is_made_without_tensorflow(runs: Path) -> None:
    code = (
        "import sys; from tfscale import cli; code = cli.main(['report', 'sweep', 'one'])\n"
        "assert code == 0 and not {'tensorflow', 'keras', 'matplotlib'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
