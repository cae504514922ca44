"""Faults in real runs, by the script that anybody can run; and in the files of checkpoints, where they are cheap."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tfscale.scripts.chaos_faults import damage

from tests.strategies.test_contracts import SMALL, run
from tests.training.test_checkpoint import saved
from tfscale.job import Job
from tfscale.training import checkpoint_files
from tfscale.training.checkpoint_files import DamagedError


@pytest.mark.horovod
def test_fifteen_kills_at_random_times_change_nothing(tmp_path: Path) -> None:
    rows = chaos(tmp_path, "--faults", "kill", "--count", "5", "--seed", "2")
    assert [row["strategy"] for row in rows] == ["sharing", "horovod", "local"]
    for row in rows:
        assert row["injected"] == row["survived"] == 5, row
        assert row["equal_bits"] == row["runs"] >= 1, row


@pytest.mark.horovod
def test_flipped_bits_on_the_wire_change_nothing(tmp_path: Path) -> None:
    (row,) = chaos(tmp_path, "--faults", "wire", "--strategies", "sharing", "--count", "3")
    assert row["injected"] == row["survived"] >= 3, row
    assert row["equal_bits"] == row["runs"] >= 1, row


def chaos(folder: Path, *words: str) -> list[dict]:
    """The rows of a run of the script."""
    command = [sys.executable, "-m", "tfscale.scripts.chaos", "--json", str(folder / "rows.json")]
    done = subprocess.run(
        [*command, "--folder", str(folder), *words], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "rows.json").read_text())


def test_every_damage_to_a_checkpoint_is_found(build_job: Callable[..., Job], tmp_path: Path) -> None:
    saved(run(build_job(*SMALL, "strategy.replicas=2"), 1), tmp_path / "sound")
    sound, chance, kinds = tmp_path / "sound" / "step-000000001", random.Random(1), set[str]()
    place = tmp_path / "step-000000001"
    for number in range(500):
        shutil.copytree(sound, place)
        path = chance.choice(sorted(place.iterdir()))
        kinds.add(damage(path, chance))
        with pytest.raises(DamagedError):
            checkpoint_files.verify(place)
            pytest.fail(f"damage {number} to {path.name} went unnoticed")
        shutil.rmtree(place)
    assert len(kinds) == 6
    shutil.copytree(sound, place)
    first, second = place / "replica-0000.npz", place / "replica-0001.npz"
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    with pytest.raises(DamagedError, match=r"replica-000.\.npz has the wrong sha256 sum"):
        checkpoint_files.verify(place)
