"""A run that is killed in mid-epoch ends in the bits of one that nothing happened to, whatever its source."""

import json
import os
from pathlib import Path

import pytest

from tests.support import killed_training
from tests.support.forked_commands import BEFORE, ROOT, forked
from tests.support.small_files import small_files
from tfscale.runs.events import read_events

JOB = (
    *("strategy=local", "strategy.replicas=2", "optimizer=adam", "train.steps=12", "train.batch=2"),
    *("train.checkpoint_every=4", "train.evaluate_every=6"),
)
"""An epoch is 3 to 5 steps, or far longer than the run; the kill is between two checkpoints and inside an epoch."""

SHIFT = "data.augment=[{_target_: keras.layers.RandomTranslation, height_factor: 0.2, width_factor: 0.2}]"
SOURCES = {
    "digits": ("data=digits",),
    "synthetic": ("data=synthetic", "data.examples=30"),
    "npz": ("data=npz", "data.file={npz}"),
    "npy": ("data=npy", "data.folder={npy}"),
    "table": ("data=table", "data.file={table}", "data.label=b", "data.normalize=standardize", "data.validation=0.2"),
    "images": ("data=images", "data.folder={images}", SHIFT),
    "tfrecord": ("data=tfrecord", "data.files={records}", "data.label=y"),
    "text": ("data=text", "data.file={texts}", "model=gru", "model.units=8"),
    "python": ("data=python", "data.function=tests.support.datasets.sevens", "trust=[tests.support.datasets]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_a_kill_in_mid_epoch_changes_no_bit(nothing_is_left_behind: Path, tmp_path: Path, source: str) -> None:
    made = small_files(tmp_path / "data")
    words = ["train", *JOB, *(word if word == SHIFT else word.format(**made) for word in SOURCES[source])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code, said = forked().run([*words, "run.name=straight"], tmp_path, environment)
    assert code == 0, said
    kill = {BEFORE: f"{killed_training.__name__}:{killed_training.in_mid_epoch.__name__}"}
    code, said = forked().run([*words, f"run.name={killed_training.RUN}"], tmp_path, environment | kill)
    assert code == 0, said
    assert "was killed by SIGKILL" in said, said
    assert "going on after step 4" in said, said
    straight, killed = (tmp_path / "runs" / name for name in ("straight", killed_training.RUN))
    assert [event["event"] for event in read_events(straight / "events.jsonl")].count("start") == 1
    assert [event["event"] for event in read_events(killed / "events.jsonl")].count("start") == 2
    digests = {json.loads((run / "summary.json").read_text())["parameters_sha256"] for run in (straight, killed)}
    assert len(digests) == 1
