"""`tfscale data export`: what the command says, and training from what it wrote."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.in_place import parameters, run
from tests.support.shards import contents
from tfscale import cli
from tfscale.data.base import Split
from tfscale.errors import UserError
from tfscale.job.build import Job

DATA = ("data=synthetic", "data.shape=[6]", "data.examples=203", "data.test_examples=50")


@pytest.mark.usefixtures("_in_folder")
def test_training_from_exported_shards_is_bit_identical(
    build_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("data.validation=0.1", "data.normalize=standardize", "data.split_seed=4")
    assert (
        cli.main(["data", "export", *DATA, *own, "to=my shards", "data.format=tfrecord", "data.shard_examples=100"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train-00000-of-00002.tfrecord: 100 examples, ")
    assert lines[-1] == (
        "183 train, 20 validation, 50 test examples are in my shards; type: tfscale train data=tfrecord "
        "'data.files=my shards'"
    )
    model = (
        "strategy=local",
        "strategy.every=3",
        "train.batch=16",
        "model.hidden=[16]",
        "optimizer.learning_rate=0.05",
    )
    jobs = [build_job(*each, *model) for each in ((*DATA, *own), ("data=tfrecord", "data.files=my shards"))]
    assert jobs[0].data.sizes == jobs[1].data.sizes
    for one, other in zip(*(parameters(run(job, 30)) for job in jobs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("_in_folder")
def test_a_damaged_record_ends_training_with_its_name_or_is_counted(
    tmp_path: Path, build_job: Callable[..., Job]
) -> None:
    assert cli.main(["data", "export", *DATA, "to=shards"]) == 0
    path = tmp_path / "shards" / "train-00000-of-00001.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 203 * 16 + 30] ^= 4  # all records have one length
    path.write_bytes(content)
    words = ("data=tfrecord", "data.files=shards", "strategy=local", "model.hidden=[8]", "train.batch=16")
    with pytest.raises(
        UserError, match=r"^data: record 17 of shards/train-00000-of-00001.tfrecord is damaged: the che"
    ):
        run(build_job(*words), 7)
    job = build_job(*words, "data.on_error=skip")
    assert "1 examples cannot be read and are left out" in job.warnings
    assert job.skipped_examples == 1
    assert job.data.sizes[Split.TRAIN] == 202
    run(job, 7)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"^record 102 of shards/train-00000-of-00001.tfrecord is truncated: it has"):
        build_job(*words)


@pytest.mark.usefixtures("_in_folder")
def test_an_export_can_be_typed_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "export", *DATA, "to=shards"]
    assert cli.main(words) == 0
    before = contents(tmp_path / "shards")
    assert sorted(before) == ["manifest.json", "test-00000-of-00001.tfrecord", "train-00000-of-00001.tfrecord"]
    capsys.readouterr()
    assert cli.main(words) == 0
    assert capsys.readouterr().out.splitlines()[0] == "train-00000-of-00001.tfrecord: 203 examples, kept"
    assert contents(tmp_path / "shards") == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "export must have a folder for the shards; type to=DIR"),
        (["to=d", "data.format=arrow"], "data.format must be tfrecord, got arrow; leave it out"),
        (["to=d", "data.shard_examples=0"], "data.shard_examples must be a whole number from 1 to 1e9, or null, got 0"),
        (["to=d", "data=images"], "data must have data.folder, a folder with a folder of images for each class"),
        (["to=d", "data=imags"], "got imags; did you mean data=images?"),
        (["to=d", "data.augment=[{_target_: keras.layers.RandomFlip}]"], "data.augment is for training and is not exp"),
        (["to=d", "data.class_weight=balanced"], "data.class_weight is for training and is not exported; leave it out"),
        (["to=d", "shards"], "shards must be KEY=VALUE"),
        (["to=d/e"], "to must be a folder, got d/e; give another path"),
    ],
)
@pytest.mark.usefixtures("_in_folder")
def test_a_mistake_is_one_message(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "e").write_text("")
    assert cli.main(["data", "export", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert contents(tmp_path / "d") == {"e": b""}


@pytest.mark.usefixtures("_in_folder")
def test_ranks_do_not_export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    assert cli.main(["data", "export", "to=d"]) == 2
    assert "export writes with one process; type it without horovodrun" in capsys.readouterr().err


@pytest.fixture
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
