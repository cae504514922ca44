"""Bad input: one clear message each, all problems together, word for word."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.datasets import write_idx
from tfscale.config import saved
from tfscale.config.compose import recipe_texts
from tfscale.config.overrides import parse
from tfscale.config.preflight import check_job, preflight, with_replicas
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError


def problems(*words: str, processes: int = 1) -> list[str]:
    with pytest.raises(UserError) as caught:
        check_job(preflight(words, config_dir=None), processes=processes)
    return list(caught.value.problems)


def config(*words: str, processes: int = 1, config_dir: Path | None = None) -> Config:
    return check_job(preflight(words, config_dir=config_dir and str(config_dir)), processes=processes)


GOLDEN = {
    "stratgy=sharing": "stratgy is not a key; did you mean strategy?",
    "strategy=sharin": (
        "strategy must be one of auto, horovod, horovod_averaging, local, sharing, got sharin; "
        "did you mean strategy=sharing?"
    ),
    "+train.epoch=3": "train.epoch is not a key; did you mean train.epochs?",
    "train.epoch=3": "train.epoch is not a key; did you mean train.epochs?",
    "++train.epoch=3": "train.epoch is not a key; did you mean train.epochs?",
    "+train.epochs=3": "+train.epochs adds a key that is there already; drop the +",
    "train.batch=-1": "train.batch must be a whole number from 1 to 1e9, got -1",
    "train.batch=2.5": "train.batch must be a whole number from 1 to 1e9, got 2.5",
    "train.batch=true": "train.batch must be a whole number from 1 to 1e9, got True",
    "train.epochs=abc": "train.epochs must be a number of epochs > 0, or null, got abc",
    "data.folder=/nowhere": (
        "data.folder is not a key of the chosen data; data=fashion_mnist, data=huggingface, data=images, data=mnist, "
        "data=npy, data=shakespeare, data=text and data=tfds have it: type data=fashion_mnist data.folder=..."
    ),
    "data=mnist data.folder=/nowhere": (
        "data.folder must be a folder with the files of mnist, got /nowhere; leave it out and type: "
        "tfscale data fetch mnist"
    ),
    "data=shakespeare data.folder=/nowhere": (
        "data.folder must be a folder with the files of shakespeare, got /nowhere; leave it out and type: "
        "tfscale data fetch shakespeare"
    ),
    "data=npz": "data.file must be a .npz file for data=npz; type data.file=PATH",
    "strategy/codec=bitmap": (
        "strategy/codec cannot be chosen: the default strategy has no codec; it goes with strategy=sharing"
    ),
    "strategy=local strategy/codec=bitmap": (
        "strategy/codec cannot be chosen: strategy=local has no codec; it goes with strategy=sharing"
    ),
    "strategy=sharing strategy/codec=zip": (
        "strategy/codec must be one of bitmap, rice, smallest, word32, got zip; type: tfscale ls"
    ),
    "strategy/coded=word32": "strategy/coded is not a group; did you mean strategy/codec?",
    "hydra.run.dir=/tmp/x": (
        "hydra.run.dir cannot be set: tfscale runs Hydra itself; use run.dir and run.name for folders, -m for sweeps"
    ),
    "strategy=local,sharing": "strategy=local,sharing has several values; add -m to run a job for each",
    "strategy.prefetch=24": "strategy.prefetch is not a key; did you mean train.prefetch?",
    "optimizer=adam optimizer.momentum=0.9": (
        "optimizer.momentum is not a key of the chosen optimizer; optimizer=muon, optimizer=nesterov, "
        "optimizer=rmsprop and optimizer=sgd have it: type optimizer=muon optimizer.momentum=..."
    ),
    "model._target_=os.system": (
        "model._target_ must begin with tfscale.models. or keras.applications., got os.system; if that code is yours, "
        "type trust=[os]"
    ),
    "train": "train must be KEY=VALUE, without spaces or in quotes: 'model.hidden=[64, 32]'",
    "run.name=../x": "run.name must be a folder name of letters, digits, - _ . (or null), got ../x",
    "metrics=accuracy early_stopping.monitor=f1": (
        "early_stopping.monitor must be one of loss, accuracy, got f1; or add a metric of that name"
    ),
    "resume=true": "resume=true must have the run's name; type run.name=NAME (`ls` in the folder run.dir)",
    "train.epochs=null": "train.epochs and train.steps are both null; set one of them",
    "~train.epochs": "train.epochs is missing; it must be a number of epochs > 0, or null",
    "strategy=sharing strategy.threshold.density=0.5": (
        "strategy.threshold.density must be a fraction > 0 and < 1/16, or auto, got 0.5"
    ),
    "strategy=sharing strategy.momentum=0.5": (
        "strategy.momentum=0.5 and optimizer.momentum=0.9 would both apply; set optimizer.momentum=0, or leave "
        "strategy.momentum=auto"
    ),
    "strategy=sharing strategy.delay=2": "strategy.delay must be 0 or 1 step, got 2",
    "strategy=sharing strategy.kernel=fast": "strategy.kernel must be auto, native or reference, got fast",
    "strategy=sharing strategy.shares=updates strategy.momentum=0.5 optimizer.momentum=0": (
        "strategy.momentum must be 0 with strategy.shares=updates, got 0.5; each replica's optimizer has its own "
        "momentum: set optimizer.momentum"
    ),
    "strategy=sharing strategy/threshold=adaptive strategy.threshold.minimum=0.1": (
        "strategy.threshold.minimum must be below strategy.threshold.maximum, got 0.1 and 0.01; swap them"
    ),
    "schedule=piecewise schedule.factors=[1.0]": (
        "schedule.factors must be one more than schedule.boundaries, got 1 and 2"
    ),
    "launch.hosts=[a:2]": "launch.hosts must come with the number of processes; type launch.np=N",
    "recipe=null": (f"recipe must be one of {', '.join(recipe_texts())}, got null; type: tfscale ls"),
    "optimizer.clipnorm=1 optimizer.global_clipnorm=1": (
        "only one of optimizer.clipnorm and optimizer.global_clipnorm can be set; set the others to null"
    ),
    "optimizer=adamw optimizer.weight_decay=null": "optimizer.weight_decay must be a number >= 0, got null",
    "schedule=piecewise schedule.boundaries=[20,10]": "schedule.boundaries must rise, got [20, 10]; sort them",
    "strategy=local strategy/collective=in_process launch.hosts=[a:1] launch.np=1": (
        "this strategy's collective (tfscale.collectives.in_process.InProcess) does not go between processes, but "
        "launch asks for 1; set strategy/collective=horovod, or launch.np=1 and launch.hosts=null"
    ),
    "launch.np=0": "launch.np must be a whole number from 1 to 1e9, or auto, got 0",
}


@pytest.mark.parametrize("words", GOLDEN)
def test_one_message(words: str) -> None:
    assert problems(*words.split()) == [GOLDEN[words]]


def test_all_problems_are_reported_together() -> None:
    assert problems("train.batch=0", "seed=-1", "strategy.every=0", "model.hidden=[0]") == [
        "seed must be a whole number >= 0 and < 2^31, got -1",
        "train.batch must be a whole number from 1 to 1e9, got 0",
        "model.hidden must be a list of whole numbers from 1 to 1e9, got 0",
        "strategy.every must be a whole number of steps from 1 to 1e9, got 0",
    ]
    assert len(problems("stratgy=x", "model=lent", "train.bach=3")) == 3


def test_a_job_of_several_processes_has_rules_of_its_own() -> None:
    assert problems("strategy=sharing", "strategy/collective=in_process", processes=2) == [
        "strategy/collective=in_process holds all replicas in one process, but the job has 2; set "
        "strategy/collective=horovod, or launch.np=1"
    ]
    assert problems("strategy=horovod", "strategy.replicas=2", processes=3) == [
        "strategy.replicas must be >= the number of processes (3), got 2; leave strategy.replicas=auto "
        "for one a process"
    ]


def test_a_missing_horovod_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "horovod", None)
    (message,) = problems("strategy=sharing", processes=2)
    assert "Horovod is not installed" in message
    assert "python -m tfscale.scripts.build.horovod" in message
    assert config("strategy=local").strategy["every"] == 5


@pytest.mark.parametrize(
    "word",
    [
        "+optimizer.clipvalue=1.0",
        "+metrics.top5={_target_: keras.metrics.SparseTopKCategoricalAccuracy, k: 5}",
        "train.epochs=0.5",
        "train.steps=7",
        "strategy.replicas=4",
        "run.name=my-run_1.2",
    ],
)
def test_what_is_right_passes(word: str) -> None:
    config(word)


def test_a_whole_number_is_a_float_where_keras_wants_one() -> None:
    optimizer = config("optimizer=sgd", "optimizer.momentum=0", "optimizer.learning_rate=1").optimizer
    assert (type(optimizer["momentum"]), type(optimizer["learning_rate"])) == (float, float)


def test_an_earlier_runs_batch_cannot_change(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.batch cannot change in an earlier run"):
        saved.read(tmp_path, parse(["train.batch=3"]))


def test_sharing_takes_the_optimizers_momentum_over() -> None:
    both = config("strategy=sharing", "strategy/collective=in_process")
    assert (both.strategy["momentum"], both.strategy["nesterov"]) == (0.9, True)
    assert (both.optimizer["momentum"], both.optimizer["nesterov"]) == (0.0, False)
    off = config("strategy=sharing", "strategy/collective=in_process", "strategy.momentum=0", "strategy.nesterov=false")
    assert (off.strategy["momentum"], off.optimizer["momentum"]) == (0, 0.9)
    updates = config("strategy=sharing", "strategy/collective=in_process", "strategy.shares=updates")
    assert (updates.strategy["momentum"], updates.optimizer["momentum"]) == (0.0, 0.9)
    adam = config("strategy=sharing", "strategy/collective=in_process", "optimizer=adam")
    assert (adam.strategy["momentum"], adam.optimizer["beta_1"]) == (0.0, 0.9)


@pytest.mark.parametrize(
    ("words", "shares", "combine"),
    [
        ("optimizer=nesterov", "gradients", "mean"),
        ("optimizer=adam", "updates", "root"),
        ("optimizer=adamw strategy.combine=sum", "updates", "sum"),
        ("optimizer=adam strategy.momentum=0.9", "gradients", "mean"),
        ("optimizer=adam strategy.shares=gradients", "gradients", "mean"),
        ("optimizer=sgd strategy.shares=updates", "updates", "mean"),
    ],
)
def test_what_is_shared_follows_the_optimizer(words: str, shares: str, combine: str) -> None:
    chosen = config("strategy=sharing", "strategy/collective=in_process", *words.split())
    assert (chosen.strategy["shares"], chosen.strategy["combine"]) == (shares, combine)


def user_folder(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return tmp_path / "conf"


def test_a_users_copy_of_a_shipped_file_wins(tmp_path: Path) -> None:
    shipped = "_target_: tfscale.models.mlp.mlp\ninput_shape: auto\nclasses: auto\nhidden: [7]\ndropout: 0.5\n"
    folder = user_folder(tmp_path, "model/mlp.yaml", shipped)
    assert config(config_dir=folder).model["hidden"] == [7]


def test_a_users_option_recipe_and_local_file_are_found(tmp_path: Path) -> None:
    folder = user_folder(tmp_path, "model/own.yaml", "_target_: mine.net\nwidth: 3\n")
    user_folder(tmp_path, "recipe/mine.yaml", "# @package _global_\ntrain:\n  batch: 9\n")
    user_folder(tmp_path, "local/default.yaml", "# @package _global_\nseed: 77\n")
    found = config("model=own", "trust=[mine]", "recipe=mine", "+model.depth=2", config_dir=folder)
    assert found.model == {"_target_": "mine.net", "width": 3, "depth": 2, "init_from": None, "freeze": []}
    assert (found.train.batch, found.seed) == (9, 77)


def test_a_target_inside_a_users_option_is_checked_too(tmp_path: Path) -> None:
    inner = "_target_: mine.net\nlayers:\n  - _target_: subprocess.run\n"
    folder = user_folder(tmp_path, "model/own.yaml", inner)
    with pytest.raises(UserError, match=r"model\.layers\._target_ must begin with .* got subprocess\.run"):
        config("model=own", "trust=[mine]", config_dir=folder)


@pytest.mark.parametrize(
    "words",
    [
        ["+metrics.m={_target_: keras.metrics.Mean, name: [[{_target_: os.mkdir, path: x}]]}"],
        ["+loss._args_=[1]"],
        ["+loss._partial_=true"],
        ["model._target_=tfscale.models."],
        ["data._target_=tfscale.data.sources.idx.np.load"],
        ["data._target_=tfscale.data.sources.idx.gzip.open"],
        ["optimizer._target_=keras.optimizers.schedules.deserialize"],
        ["~model=[1,2]"],
        ["model=null"],
        ["train.epochs=inf"],
        ["train.batch=1000000000000000000000"],
        ["=1"],
        ["model.hidden.0=3"],
    ],
)
def test_what_is_odd_is_refused(words: list[str]) -> None:
    assert len(problems(*words)) == 1


@pytest.mark.parametrize("content", [b"[1, 2]", b"895", b"\xff\xfe\x00bin", b"", b"model: 3"])
def test_a_damaged_saved_configuration_is_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml is (damaged|not YAML)") as caught:
        saved.read(tmp_path, [])
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "target",
    [
        "keras.losses.deserialize",
        "keras.losses.get",
        "keras.saving.load_model",
        "builtins.exec",
        "kerasx.losses.A",
    ],
)
def test_functions_that_load_code_are_refused(target: str) -> None:
    (message,) = problems(f"loss._target_={target}")
    assert message.startswith(
        ("loss._target_ must begin with keras.losses.", "loss._target_ must be a class of keras.")
    )


def test_a_damaged_user_file_is_one_message(tmp_path: Path) -> None:
    folder = user_folder(tmp_path, "model/mlp.yaml", "a: [1\nb: }")
    with pytest.raises(UserError, match=r"mlp\.yaml is not YAML: .*line 2"):
        config(config_dir=folder)
    with pytest.raises(UserError, match=r"--config-dir must be a folder, got /nowhere"):
        preflight([], config_dir="/nowhere")


def test_a_saved_configuration_comes_back_with_values_changed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    first = config("strategy=sharing", "strategy/collective=in_process", "train.batch=9", "run.name=one")
    assert first.strategy["replicas"] == "auto"
    saved.write(with_replicas(first, 3), folder, threads=1)
    again = check_job(saved.read(folder, parse(["train.epochs=3"])), processes=1)
    assert again.train == first.train.model_copy(update={"epochs": 3})
    assert again.strategy == {**first.strategy, "replicas": 3}, "a run keeps its replicas wherever it goes on"
    assert again.launch.threads == 1
    assert again.run.dir == str(folder.parent), "a run that was moved goes on where it is"
    with pytest.raises(UserError, match=r"train.epoch is not a key that can change .* did you mean train.epochs\?"):
        saved.read(folder, parse(["train.epoch=3"]))
    with pytest.raises(UserError, match=r"train.log_every must be a whole number of steps from 1 to 1e9, got 0"):
        saved.read(folder, parse(["train.log_every=0"]))
    with pytest.raises(UserError, match=r"run two does not exist in .*; runs there: one"):
        saved.read(tmp_path / "runs" / "two", [])


def test_a_truncated_data_file_is_found_before_anything_starts(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "d", train=3, test=2, zipped=False)
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    (message,) = problems("data=mnist", f"data.folder={folder}")
    assert message == f"{path} must have 1,584 bytes by its header, got 1,583; get it again"


def test_preflight_does_not_import_tensorflow() -> None:
    code = (
        "import sys; from tfscale.config.preflight import check_job, preflight\n"
        "check_job(preflight(['data=digits'], config_dir=None), processes=1)\n"
        "assert not {'tensorflow', 'keras', 'horovod'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
