"""Checkpoints: 2n steps are n steps, a save, and n more in fresh objects, bit for bit; damage is found."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tests.support.checkpoints import alone, everything, no_damage, saved
from tests.support.in_place import DATA, SMALL, VARIANTS, run, stepping, with_optimizer
from tests.support.marks import quick
from tfscale.checkpoint import folder as checkpoint_folder
from tfscale.checkpoint import format as checkpoint_format
from tfscale.checkpoint.folder import newest
from tfscale.checkpoint.format import step_of
from tfscale.checkpoint.slices import join
from tfscale.data.base import Split
from tfscale.errors import ExchangeError, RunError, UserError
from tfscale.job.build import Job
from tfscale.training import checkpoints as checkpoint
from tfscale.training.checkpoints import restore_model
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
    *(
        "sharing per tensor",
        "sharing after a warm-up",
        "local, int8",
        "sharing in groups",
        "sharing in groups, in rounds",
    ),
)
"""Each has state of its own."""


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *quick(((name, "nesterov") for name in RESUMED), only=[("sharing", "nesterov"), ("local", "nesterov")]),
        *quick((("local", "adam"), ("sharing", "adam"), ("horovod", "adam")), only=[("horovod", "adam")]),
        *quick(
            (
                (name, optimizer)
                for optimizer in ("rmsprop", "lion", "adafactor", "muon")
                for name in ("local", "sharing")
            ),
            only=[],
        ),
    ],
)
def test_resuming_gives_the_same_bits(build_job: Callable[..., Job], tmp_path: Path, name: str, optimizer: str) -> None:
    words = (*SMALL, f"optimizer={optimizer}", "model.dropout=0.2", "train.batch=16", *VARIANTS[name])
    straight = run(build_job(*words), 2 * STEPS)
    checkpoints = saved(run(build_job(*words), STEPS), tmp_path)
    resumed = build_job(*words, "seed=999")
    checkpoints.restore(resumed.state, step_of(newest(tmp_path, no_damage)))
    assert resumed.state.step == STEPS
    shards = resumed.collective.size
    feed = training_steps(resumed.state, resumed.data, shards=shards, batch=16, seed=straight.plan.seed, prefetch=2)
    for _ in range(STEPS):
        next(feed)
    wanted, got = everything(straight), everything(resumed)
    assert wanted.keys() == got.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


@pytest.mark.usefixtures("build_job")
@pytest.mark.parametrize("name", quick(["local", "horovod", "sharing updates"], only=["sharing updates"]))
def test_adafactor_resumes_to_the_same_bits_although_its_slots_have_equal_paths(tmp_path: Path, name: str) -> None:
    """Keras calls several slots adafactor/kernel; a run with it once failed at its first save, after an epoch."""

    def build() -> Job:
        words = (*DATA, *VARIANTS[name], "model.dropout=0.2", "train.batch=16")
        return with_optimizer(tmp_path, "keras.optimizers.Adafactor", *words)

    straight = run(build(), 2 * STEPS)
    checkpoints = saved(run(build(), STEPS), tmp_path / "checkpoints")
    resumed = build()
    checkpoints.restore(resumed.state, STEPS)
    wanted, got = everything(straight), everything(run(resumed, STEPS))
    assert len({key for key in wanted if "adafactor/kernel" in key}) >= 4
    assert wanted.keys() == got.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


def test_a_resumed_run_takes_its_own_learning_rate(build_job: Callable[..., Job], tmp_path: Path) -> None:
    checkpoints = saved(run(build_job(*SMALL, "optimizer.learning_rate=0.5"), 1), tmp_path)
    resumed = build_job(*SMALL, "optimizer.learning_rate=0.25")
    checkpoints.restore(resumed.state, step_of(newest(tmp_path, no_damage)))
    assert float(resumed.state.replicas[0].optimizer.learning_rate) == 0.25
    assert int(resumed.state.replicas[0].optimizer.iterations) == 1


def test_saving_disturbs_nothing(build_job: Callable[..., Job], tmp_path: Path) -> None:
    words = (*SMALL, "model.dropout=0.2", "strategy=local", "strategy.every=5")
    plain = everything(run(build_job(*words), 8))
    job = build_job(*words)
    for number, _ in enumerate(itertools.islice(stepping(job), 8), start=1):
        if number == 4:
            saved(job, tmp_path)
    got = everything(job)
    for key, value in plain.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


def test_a_damaged_checkpoint_is_skipped(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """A flipped bit of the last one, and every edit of the manifest of the one before it."""
    job = build_job(*SMALL)
    for _ in itertools.islice(stepping(job), 3):
        saved(job, tmp_path, keep=5)
    last = tmp_path / "step-000000003" / "replica-0001.safetensors"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(bytes(content))
    manifest = tmp_path / "step-000000002" / "MANIFEST.json"
    text = manifest.read_text()
    assert newest(tmp_path, lambda path, error: None).name == "step-000000002"
    found: list[str] = []
    for change in (("step", "stepp"), ('"step": 2', '"step": 3'), ("shared-", "shored-"), ('"x"', '"y"'), (text, "{")):
        manifest.write_text(text.replace(*change))
        found.clear()
        assert newest(tmp_path, lambda path, error: found.append(str(error))).name == "step-000000001", change
        assert len(found) == 2
        assert found[0] == "replica-0001.safetensors has the wrong sha256 sum"


def test_a_checkpoint_of_another_version_is_not_damage(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = build_job(*SMALL)
    for (version, which), _ in zip([(-1, "an earlier"), (1, "a later")], stepping(job), strict=False):
        with monkeypatch.context() as other:
            other.setattr(checkpoint_format, "_FORMAT", checkpoint_format._FORMAT + version)
            saved(job, tmp_path)
        with pytest.raises(
            UserError, match=rf"step-00000000\d was written by {which} version of tfscale; resume it with that version"
        ):
            newest(tmp_path, no_damage)


def test_without_an_intact_checkpoint_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has none; delete .* or give another run.name"):
        newest(tmp_path, no_damage)


def test_a_checkpoint_of_other_replicas_or_another_model_is_refused(
    build_job: Callable[..., Job], tmp_path: Path
) -> None:
    checkpoints = saved(build_job(*SMALL), tmp_path)
    step = step_of(newest(tmp_path, no_damage))
    with pytest.raises(UserError, match=r"strategy.replicas must be 2 as in the checkpoint, got 3"):
        checkpoints.restore(build_job(*SMALL, "strategy.replicas=3").state, step)
    with pytest.raises(UserError, match=r"must be that of the checkpoint"):
        checkpoints.restore(build_job(*SMALL, "model.hidden=[17]").state, step)
    with pytest.raises(UserError, match=r"only the (run|checkpoint) has"):
        checkpoints.restore(build_job(*SMALL, "optimizer=adam").state, step)


def test_the_saved_model_is_the_consensus(build_job: Callable[..., Job], tmp_path: Path) -> None:
    """Off an averaging boundary: what evaluation sees is the mean, whatever the number of replicas that load it."""
    job = run(build_job(*SMALL, "strategy=local", "strategy.every=100"), 3)
    saved(job, tmp_path)
    wanted = job.evaluator(job.state.consensus(), Split.TEST)
    other = build_job(*SMALL, "strategy=local", "strategy.replicas=1", "seed=5")
    restore_model(other.state, newest(tmp_path, no_damage))
    assert other.evaluator(other.state.consensus(), Split.TEST) == pytest.approx(wanted, rel=1e-6)
    assert checkpoint_format.read_manifest(tmp_path / "step-000000003").replicas == 2


def test_a_checkpoint_names_its_parent_and_what_it_depended_on(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL)
    checkpoints = alone(tmp_path)
    for _ in itertools.islice(stepping(job), 2):
        checkpoints.save(job.state)
    checkpoints.finish(job.state)
    manifest = checkpoint_format.read_manifest(tmp_path / "step-000000002")
    assert (manifest.parent, manifest.identity) == ("step-000000001", {"cpu": "x"})


def test_a_checkpoint_that_cannot_be_written_is_a_warning_and_the_next_is_tried(
    build_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, warnings = build_job(*SMALL), list[str]()
    checkpoints, feed = alone(tmp_path, warn=warnings.append), stepping(job)
    next(feed)
    checkpoints.save(job.state)
    checkpoints.finish(job.state)
    with monkeypatch.context() as broken:

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        next(feed)
        broken.setattr(os, "fsync", full)
        checkpoints.save(job.state)
        checkpoints.wait()
        (warning,) = warnings
        assert "step-000000002 could not be saved: [Errno 28] No space left on device; the earlier ones are" in warning
        broken.setattr(checkpoint, "PAUSES", (0.0, 0.0))
        with pytest.raises(RunError, match="No space left"):
            checkpoints.finish(job.state)
        assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    checkpoints.finish(job.state)
    assert newest(tmp_path, no_damage).name == "step-000000002"
    assert checkpoint_format.read_manifest(tmp_path / "step-000000002").parent == "step-000000001"


def test_a_damaged_checkpoint_can_be_quarantined(build_job: Callable[..., Job], tmp_path: Path) -> None:
    saved(build_job(*SMALL), tmp_path)
    checkpoint_folder.quarantine(tmp_path / "step-000000000")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged-step-000000000"]
    assert not checkpoint_folder.complete(tmp_path)


def test_a_run_that_goes_on_from_where_it_once_ended_has_not(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*SMALL)
    feed = stepping(job)
    next(feed)
    job.state.early_stopping.ended = True
    checkpoints = saved(job, tmp_path)
    checkpoints.restore(job.state, 1)
    assert job.state.early_stopping.ended
    next(feed)
    assert checkpoints.rollback(job.state, every=1) == "step-000000001"
    assert not job.state.early_stopping.ended
    assert job.state.step == 2


@pytest.mark.parametrize("what", ["model", "optimizer"])
@pytest.mark.parametrize("name", ["horovod", "sharing"])
def test_replicas_that_have_drifted_apart_are_not_saved(
    build_job: Callable[..., Job], tmp_path: Path, name: str, what: str
) -> None:
    """A run that went on after such a checkpoint would find them apart again, and again."""
    job = build_job(*SMALL, "optimizer=nesterov", *VARIANTS[name])
    warnings: list[str] = []
    checkpoints, feed = alone(tmp_path, warn=warnings.append), stepping(job)
    for _ in itertools.islice(feed, 3):
        pass
    checkpoints.save(job.state)
    next(feed)
    wrong = next(
        each for key, each in job.state.replicas[1].variables().items() if key.startswith(f"{what}/") and each.shape
    )
    wrong.assign_add(tf.ones(wrong.shape))
    checkpoints.save(job.state)
    with pytest.raises(
        ExchangeError, match=r"step-000000004 could not be saved: replica-000\d\S+ is of a replica that"
    ):
        checkpoints.finish(job.state)
    assert warnings
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003"]


@pytest.mark.parametrize(
    ("name", "alike"),
    quick(
        [("horovod", {"model", "optimizer"}), ("sharing", {"model"}), ("local", set())], only=[("sharing", {"model"})]
    ),
)
def test_what_replicas_hold_alike_is_saved_once(
    build_job: Callable[..., Job], tmp_path: Path, name: str, alike: set[str]
) -> None:
    images = ("data=synthetic", "data.shape=[8,8,1]", "data.examples=64", "model=cnn", "model.filters=[4]")
    job = run(build_job(*images, "optimizer=adam", "train.batch=8", *VARIANTS[name]), 3)
    saved(job, tmp_path)
    files = {path.stem: load_file(path) for path in sorted(newest(tmp_path, no_damage).glob("*.safetensors"))}
    kept = {name: set(arrays) for name, arrays in files.items()}
    shared = join([arrays for name, arrays in files.items() if name.startswith("shared-")])
    model = job.state.replicas[0].model
    trainable = {f"model/{each.path}" for each in model.trainable_variables}
    statistics = {f"model/{each.path}" for each in model.variables} - trainable
    assert {each.split("/")[0] for each in shared} & {"model", "optimizer"} == alike
    variables = job.state.replicas[0].variables()
    assert all(shared[name].shape == variables[name].shape for name in shared.keys() & variables.keys())
    assert kept["replica-0000"] == kept["replica-0001"]
    assert not kept["replica-0000"] & shared.keys()
    assert kept["model"] == statistics | (set() if alike else trainable)


@pytest.mark.parametrize("name", ["local", "horovod_averaging", "sharing updates"])
def test_replicas_that_may_differ_are_saved(build_job: Callable[..., Job], tmp_path: Path, name: str) -> None:
    job = run(build_job(*SMALL, "optimizer=adam", *VARIANTS[name]), STEPS)
    saved(job, tmp_path)
    assert checkpoint_format.verify(newest(tmp_path, no_damage)).step == STEPS
