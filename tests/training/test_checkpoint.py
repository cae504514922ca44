"""Checkpoints: 2n steps are n steps, a save, and n more in fresh objects, bit for bit; damage is found."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.strategies.test_contracts import SMALL, VARIANTS, run
from tfscale.errors import UserError
from tfscale.job import Job
from tfscale.training.checkpoint import Checkpoints, restore_model
from tfscale.training.loop import training_steps

STEPS = 7
RESUMED = (
    *(
        "horovod",
        "horovod_averaging",
        "local",
        "local, slots apart",
        "sharing",
        "sharing updates",
        "sharing a step later",
    ),
    *("sharing a step later", "sharing per tensor", "sharing after a warm-up"),
)
"""Each has state of its own."""


def everything(job: Job) -> dict[str, np.ndarray]:
    """All that must survive, by name."""
    state = {f"shared/{name}": value for name, value in job.state.shared_arrays().items()}
    for index in range(len(job.state.replicas)):
        state |= {f"{index}/{name}": value for name, value in job.state.replica_arrays(index).items()}
    return state


def no_warning(words: str) -> None:
    raise AssertionError(words)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [*((name, "nesterov") for name in RESUMED), ("local", "adam"), ("sharing", "adam"), ("horovod", "adam")],
)
def test_resuming_gives_the_same_bits(build_job: Callable[..., Job], tmp_path: Path, name: str, optimizer: str) -> None:
    words = (*SMALL, f"optimizer={optimizer}", "model.dropout=0.2", "train.batch=16", *VARIANTS[name])
    straight = run(build_job(*words), 2 * STEPS)
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(run(build_job(*words), STEPS).state)
    resumed = build_job(*words, "seed=999")
    checkpoints.restore(resumed.state, checkpoints.newest(no_warning))
    assert resumed.state.step == STEPS
    feed = training_steps(resumed.state, resumed.data, shards=2, batch=16, seed=straight.plan.seed, prefetch=2)
    for _ in range(STEPS):
        next(feed)
    wanted, got = everything(straight), everything(resumed)
    assert wanted.keys() == got.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


def test_a_resumed_run_takes_its_own_learning_rate(build_job: Callable[..., Job], tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(run(build_job(*SMALL, "optimizer.learning_rate=0.5"), 1).state)
    resumed = build_job(*SMALL, "optimizer.learning_rate=0.25")
    checkpoints.restore(resumed.state, checkpoints.newest(no_warning))
    assert float(resumed.state.replicas[0].optimizer.learning_rate) == 0.25
    assert int(resumed.state.replicas[0].optimizer.iterations) == 1


def test_saving_disturbs_nothing(build_job: Callable[..., Job], tmp_path: Path) -> None:
    words = (*SMALL, "model.dropout=0.2", "strategy=local", "strategy.every=5")
    plain = everything(run(build_job(*words), 8))
    job = run(build_job(*words), 4)
    Checkpoints(tmp_path, keep=2).save(job.state)
    got = everything(run(job, 4))
    for key, value in plain.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


def test_a_damaged_checkpoint_is_passed_over(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL)
    checkpoints = Checkpoints(tmp_path, keep=5)
    for _ in range(3):
        checkpoints.save(run(job, 1).state)
    newest = tmp_path / "step-000000003" / "replica-0001.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    (tmp_path / "step-000000002" / "MANIFEST.json").write_text("{")
    warnings: list[str] = []
    assert checkpoints.newest(warnings.append).name == "step-000000001"
    assert len(warnings) == 2
    assert "replica-0001.npz has the wrong sha256 sum" in warnings[0]


@pytest.mark.parametrize("change", [("step", "stepp"), ('"step": 2', '"step": 3'), ("shared.npz", "shored.npz")])
def test_an_edited_manifest_is_damage(build_job: Callable[..., Job], tmp_path: Path, change: tuple[str, str]) -> None:
    job = build_job(*SMALL)
    checkpoints = Checkpoints(tmp_path, keep=5)
    for _ in range(2):
        checkpoints.save(run(job, 1).state)
    manifest = tmp_path / "step-000000002" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace(*change))
    warnings: list[str] = []
    assert checkpoints.newest(warnings.append).name == "step-000000001"
    assert len(warnings) == 1


def test_without_a_whole_checkpoint_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has none; delete .* or give another run.name"):
        Checkpoints(tmp_path, keep=1).newest(no_warning)


def test_old_checkpoints_go(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL)
    checkpoints = Checkpoints(tmp_path, keep=2)
    for _ in range(4):
        checkpoints.save(run(job, 1).state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000003", "step-000000004"]


def test_a_checkpoint_of_other_replicas_or_another_model_is_refused(
    build_job: Callable[..., Job], tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(run(build_job(*SMALL), 1).state)
    place = checkpoints.newest(no_warning)
    with pytest.raises(UserError, match=r"strategy.replicas must be 2 as in the checkpoint, got 3"):
        checkpoints.restore(build_job(*SMALL, "strategy.replicas=3").state, place)
    with pytest.raises(UserError, match=r"must be that of the checkpoint"):
        checkpoints.restore(build_job(*SMALL, "model.hidden=[17]").state, place)
    with pytest.raises(UserError, match=r"only the (run|checkpoint) has"):
        checkpoints.restore(build_job(*SMALL, "optimizer=adam").state, place)


def test_the_saved_model_is_the_consensus(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """Off an averaging boundary: what evaluation sees is the mean, whatever the number of replicas that load it."""
    job = run(build_job(*SMALL, "strategy=local", "strategy.every=100"), 3)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(job.state)
    wanted = job.evaluator(job.state.consensus())
    other = build_job(*SMALL, "strategy=local", "strategy.replicas=1", "seed=5")
    restore_model(other.state, checkpoints.newest(no_warning))
    assert other.evaluator(other.state.consensus()) == pytest.approx(wanted, rel=1e-6)
    assert json.loads((tmp_path / "step-000000003" / "MANIFEST.json").read_text())["replicas"] == 2
