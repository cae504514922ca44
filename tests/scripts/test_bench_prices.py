"""The benchmark of safety: its statistics, and one short run in real processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from tfscale.scripts.bench.prices import interval_of_median, prices, switched_digests

from tests.support.in_place import SMALL, run
from tfscale.job.build import Job


def test_a_price_is_what_a_round_took_beyond_its_plain_steps() -> None:
    """The cost of a save is shared by the steps of five rounds."""
    seconds = {"plain": [1.0, 2.0, 4.0], "checkpoint": [1.1, 2.5, 4.2], "digests left out": [0.9, 1.9, 4.4]}
    assert prices(seconds, spread=5.0) == [
        {
            "what": "plain",
            "rounds": 3,
            "milliseconds": 2000.0,
            "beyond_plain": "+0.00%",
            "from": "+0.00%",
            "to": "+0.00%",
        },
        {
            "what": "checkpoint",
            "rounds": 3,
            "milliseconds": 2500.0,
            "beyond_plain": "+2.00%",
            "from": "+1.00%",
            "to": "+5.00%",
        },
        {
            "what": "digests left out",
            "rounds": 3,
            "milliseconds": 1900.0,
            "beyond_plain": "-5.00%",
            "from": "-5.00%",
            "to": "+20.00%",
        },
    ]


@pytest.mark.parametrize(
    ("count", "ends"), [(1, (0, 0)), (4, (0, 3)), (25, (7, 17)), (100, (39, 60)), (400, (179, 220))]
)
def test_an_interval_has_the_ranks_of_the_sign_test(count: int, ends: tuple[int, int]) -> None:
    assert interval_of_median([float(each) for each in reversed(range(count))]) == ends


@pytest.mark.parametrize("strategy", ["horovod", "sharing"])
def test_replicas_of_a_job_without_digests_do_not_notice_that_they_differ(
    build_job: Callable[..., Job], strategy: str
) -> None:
    words = (f"strategy={strategy}", "strategy/collective=in_process", "strategy.replicas=2")
    with switched_digests() as digests:
        job = run(build_job(*SMALL, *words), 1)
    digests.assign(False)
    one = job.state.replicas[0]
    one.assign(one.parameters() + 1.0)  # the replicas differ now
    run(job, 2)
    digests.assign(True)
    with pytest.raises(tf.errors.OpError, match="parameters"):
        run(job, 2)


@pytest.mark.slow
@pytest.mark.horovod
def test_processes_measure_each_variant(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tfscale.scripts.bench.prices", "--strategy=horovod", "--rounds=2", "--steps=2"]
    done = subprocess.run(
        [*command, f"--json={tmp_path / 'rows.json'}"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["what"] for row in rows] == ["plain", "checkpoint", "digests left out", "reproducible"]
    assert all(row["rounds"] == 2 and row["milliseconds"] > 0 for row in rows)
