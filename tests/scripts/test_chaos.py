"""Faults in real runs, by the script that anybody can run."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tfscale.scripts.chaos.faults import outliving


@pytest.mark.slow
@pytest.mark.horovod
def test_kills_at_random_times_change_nothing(tmp_path: Path) -> None:
    """Checkpoints every 25 steps are in the middle of most rounds of 16 steps."""
    rows = chaos(tmp_path, "--faults", "kill", "--count", "3", "--a-run", "3", "--steps", "700", "--seed", "2")
    *each, every = rows
    strategies = ["sharing", "rounds", "divided", "horovod", "local", "outer", "int8"]
    assert [row["strategy"] for row in rows] == [*strategies, "all"]
    assert every["injected"] == 3 * len(strategies)
    assert every["after_a_step"] >= 3
    assert 0 < every["most_steps_replayed"] <= 25
    assert every["longest_recovery_s"] == max(row["longest_recovery_s"] for row in each)
    for row in each:
        assert row["injected"] == row["survived"] == 3, row
        assert row["equal_bits"] == row["runs"] >= 1, row


@pytest.mark.slow
@pytest.mark.horovod
def test_flipped_bits_on_the_wire_and_writes_that_fail_change_nothing(tmp_path: Path) -> None:
    """With this seed all bits flip after a step: a start whose messages of Horovod are hit may hang for minutes."""
    words = ("--faults", "wire", "disk", "--strategies", "sharing", "--count", "3", "--a-run", "3", "--seed", "11")
    rows = chaos(tmp_path, *words)
    assert [row["fault"] for row in rows] == ["wire", "disk"]
    for row in rows:
        assert row["injected"] == row["survived"] >= 3, row
        assert row["equal_bits"] == row["runs"] >= 1, row


def test_a_process_that_only_has_to_be_waited_for_is_gone() -> None:
    ended = subprocess.Popen(["true"])
    runs = subprocess.Popen(["sleep", "60"])
    try:
        both = [psutil.Process(process.pid) for process in (ended, runs)]
        assert outliving(both, 0.5) == both[1:]
    finally:
        runs.kill()
        runs.wait()
        ended.wait()


def chaos(folder: Path, *words: str) -> list[dict]:
    """The rows of a run of the script."""
    command = [sys.executable, "-m", "tfscale.scripts.chaos", "--json", str(folder / "rows.json")]
    done = subprocess.run(
        [*command, "--folder", str(folder), *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "rows.json").read_text())


@pytest.mark.slow
@pytest.mark.horovod
def test_no_flipped_bit_reaches_what_is_applied() -> None:
    command = [sys.executable, "-m", "tfscale.scripts.chaos.wire", "--count", "100", "--strategies", "horovod"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("horovod, ")][-1:]
    assert "'found'" in last
    assert "WRONG" not in last
