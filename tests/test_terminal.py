"""Messages and streams of tfscale, on full disks and closed streams too."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.processes import command, summary
from tfscale.terminal import RobustStream, logger

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")

SPEAKS = """
import sys
from tfscale.terminal import flush, logger, survive_write_errors

logger.error("before")
survive_write_errors("stderr")
survive_write_errors("stdout")
for line in range(3):
    logger.error("after")
    print("x" * 100_000, flush=True)
    flush()
if sys.stderr is not None:
    sys.stderr.flush()
"""


def test_a_message_is_one_line_at_once_and_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Handlers of the root logger, as absl installs, do not print it again."""
    root = logging.StreamHandler()
    logging.getLogger().addHandler(root)
    try:
        logger.error("100% of it is so")
    finally:
        logging.getLogger().removeHandler(root)
    assert capsys.readouterr() == ("", "tfscale: 100% of it is so\n")


@FULL
def test_streams_on_a_full_disk_stop_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", SPEAKS], stdout=full, stderr=full, env=buffered(), timeout=60, check=False
        )
    assert done.returncode == 0


def test_streams_that_are_kept_say_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPEAKS], capture_output=True, text=True, env=buffered(), timeout=60, check=False
    )
    assert done.stderr == "tfscale: before\n" + 3 * "tfscale: after\n"
    assert done.stdout == 3 * ("x" * 100_000 + "\n")


def test_streams_that_are_not_there_stop_nothing() -> None:
    words = [sys.executable, "-c", SPEAKS]
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *words], env=buffered(), timeout=60, check=False)
    assert done.returncode == 0


@FULL
def test_a_full_disk_does_not_end_a_log() -> None:
    with RobustStream(Path("/dev/full").open("ab", buffering=0)) as stream:
        Console(file=stream).print("a line")
        print("x" * 100_000, file=stream, flush=True)


def test_a_log_is_added_to(tmp_path: Path) -> None:
    for line in ("one", "zwölf"):
        with RobustStream((tmp_path / "log").open("ab", buffering=0)) as stream:
            Console(file=stream).print(line)
            assert (tmp_path / "log").read_text(encoding="utf-8").endswith(f"{line}\n"), "and at once"
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwölf\n"


def buffered() -> dict[str, str]:
    """Our environment, in which Python keeps what it could not write."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


CLOSED = """
import os, sys
from tfscale.terminal import open_standard_streams

open_standard_streams()
with open(sys.argv[1], "w") as file:
    file.write(f"{file.fileno()} {[os.readlink(f'/proc/self/fd/{number}') == os.devnull for number in range(3)]}")
print("nobody reads this", file=sys.stderr, flush=True)
print("nor this", flush=True)
"""


@pytest.mark.parametrize(("closed", "opened"), [("<&- >&- 2>&-", [True] * 3), ("2>&-", [False, False, True])])
def test_closed_descriptors_become_dev_null(tmp_path: Path, closed: str, opened: list[bool]) -> None:
    """`tfscale train 2>&-` gave an OSError, four starts and exit code 1."""
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", CLOSED, str(tmp_path / "file")]
    done = subprocess.run(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == f"3 {opened}"


def test_a_train_without_standard_error_trains(tmp_path: Path) -> None:
    words = [*command("train.steps=3", "run.name=one", "model.hidden=[4]")]
    shell = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *words]
    assert subprocess.run(shell, cwd=tmp_path, timeout=120, check=False).returncode == 0
    assert summary(tmp_path, "one")["steps"] == 3
