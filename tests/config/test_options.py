"""Every option of every group composes and builds; the schema says of each class what its constructor says."""

import importlib
import inspect
import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from tfscale.scripts.datasets import __main__ as datasets
from tfscale.scripts.datasets import docstrings

from tests.support.in_place import run
from tests.support.small_files import small_files
from tfscale import cli
from tfscale.config.compose import composer, recipe_texts
from tfscale.config.preflight import preflight
from tfscale.config.schemas.by_target import TARGET_SCHEMAS
from tfscale.job.build import Job

ROOT = Path(__file__).parent.parent.parent
# What an option needs beside itself to be built on this machine.
NEEDS = {
    "data=npz": ("data.file={npz}",),
    "data=npy": ("data.folder={npy}",),
    "data=table": ("data.file={table}", "data.label=b"),
    "data=images": ("data.folder={images}",),
    "data=python": ("data.function=tests.support.datasets.sevens", "trust=[tests.support.datasets]"),
    "data=text": ("data.file={texts}", "model=gru"),
    "data=tfrecord": ("data.files={records}", "data.label=y"),
    "loss=mse": ("task=regression",),
    "loss=mae": ("task=regression",),
    "loss=huber": ("task=regression",),
    "loss=binary_crossentropy": ("data=synthetic", "data.classes=2", "task=binary"),
    "task=binary": ("data=synthetic", "data.classes=2"),
    "task=multilabel": ("data=table", "data.file={table}", "data.label=[yes,no]"),
    "task=reconstruction": ("data=npz", "data.file={npz}", "model=autoencoder"),
    "model=siamese": ("data=npz", "data.file={pairs}"),
    "model=autoencoder": ("task=reconstruction",),
    "data=synthetic": ("data.examples=64", "data.test_examples=16"),
    "model=application": (
        *("model.name=MobileNet", "+model.options.alpha=0.25", "model.resize=[32,32]", "model.freeze=[base]"),
    ),
    "model=gru": ("data=shakespeare",),
    "model=lenet": ("data=mnist",),
    "model=transformer": ("data=shakespeare",),
    "schedule=plateau": ("data.validation=0.1",),
    "strategy=horovod": ("strategy/collective=in_process",),
    "strategy=horovod_averaging": ("strategy/collective=in_process",),
    "strategy=sharing": ("strategy/collective=in_process",),
    "strategy/codec": ("strategy=sharing", "strategy/collective=in_process"),
    "strategy/threshold": ("strategy=sharing", "strategy/collective=in_process"),
}
# Filled in by job.py, not by the configuration.
GIVEN = {
    "learned",
    "spec",
    "directions",
    "has_validation",
    "collective",
    "learning_rate",
    "total_steps",
    "replicas",
    "processes",
}


# Built elsewhere: with real processes, with a model of the user's own in tests/tasks, in tests/job, in tests/data (no
# network), or in tests/tracking.
COMPOSED = (
    "data=keras",
    "data=huggingface",
    "data=tfds",
    "strategy=auto",
    "strategy/collective=horovod",
    "task=segmentation",
    "task=next_token",
    "task=several",
    "tracker=mlflow",
    "tracker=wandb",
)


def options() -> Iterator[str]:
    with composer(None) as hydra:
        for group in hydra.groups():
            yield from (f"{group}={option}" for option in hydra.options(group))


OPTIONS = sorted(options())


def test_there_are_as_many_options_as_files() -> None:
    files = {path for path in (ROOT / "conf").rglob("*.yaml") if path.name != "config.yaml"}
    assert len(OPTIONS) - len(recipe_texts()) == len(files) > 25


def _targets(values: object) -> Iterator[str]:
    """Every `_target_` in the values of a file, those of metrics included."""
    for key, value in values.items() if isinstance(values, dict) else ():
        yield from [value] if key == "_target_" else _targets(value)


def test_every_option_has_a_table_of_its_keys() -> None:
    """An optimizer file without a table passed all tests once, and `optimizer.rho=2` trained."""
    targets = [
        (str(path.relative_to(ROOT)), target)
        for path in sorted((ROOT / "conf").rglob("*.yaml"))
        for target in _targets(yaml.safe_load(path.read_text()))
    ]
    assert len(targets) > 25
    missing = [
        f"{path}: {target} has no table in tfscale/config/schemas/"
        for path, target in targets
        if target not in TARGET_SCHEMAS
    ]
    assert not missing, "\n".join(missing)


SHAPING = ("data", "model", "task", "loss", "strategy")
"""Groups whose options decide what fits to them: each of their options is built by itself."""


def together() -> Iterator[tuple[str, ...]]:
    """Options to build in one job: those with the same needs, one of each group; together they are all options."""
    alike: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for option in OPTIONS:
        group = option.split("=")[0]
        if option in COMPOSED or group in SHAPING:
            yield (option,)
        elif group != "recipe":
            alike.setdefault(needs_of(option), {}).setdefault(group, []).append(option)
    for groups in alike.values():
        yield from (tuple(filter(None, row)) for row in itertools.zip_longest(*groups.values()))


def needs_of(option: str) -> tuple[str, ...]:
    """The words without which an option cannot be built."""
    return (*NEEDS.get(option.split("=")[0], ()), *NEEDS.get(option, ()))


def test_no_option_is_left_out() -> None:
    built = [option for row in together() for option in row]
    assert sorted(built) == [option for option in OPTIONS if not option.startswith("recipe=")]


@pytest.mark.parametrize("chosen", [*together()], ids=" ".join)
def test_every_option_composes_and_builds(
    chosen: tuple[str, ...],
    build_job: Callable[..., Job],
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TFSCALE_DATA", str(small_data))
    if chosen[0] in COMPOSED:
        preflight(chosen, config_dir=None)
        return
    needs = needs_of(chosen[0])
    made = small_files(tmp_path) if "{" in "".join(needs) else {}
    words = [word.format(**made) for word in needs]
    job = run(build_job(*words, *chosen, "train.batch=8"), 2)
    assert job.state.step == 2


@pytest.mark.parametrize("target", TARGET_SCHEMAS)
def test_the_schema_says_what_the_constructor_says(target: str) -> None:
    if target == "auto":
        return  # chosen by job.py
    module, name = target.rsplit(".", 1)
    taken = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    fields = {key for key in TARGET_SCHEMAS[target].model_fields if key not in ("partial",)}
    if target.startswith("keras."):
        assert fields <= taken.keys()
        return
    assert fields - GIVEN == taken.keys() - GIVEN


@pytest.mark.parametrize("name", sorted(recipe_texts()))
def test_every_recipe_composes_and_trains_two_steps(
    name: str, build_job: Callable[..., Job], small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFSCALE_DATA", str(small_data))
    monkeypatch.setattr(datasets, "LARGE", 64)
    x, y = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20)[:, None] % 10
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((x, y), (x, y)))  # no download
    monkeypatch.setattr(docstrings, "MODULES", 40)
    monkeypatch.chdir(tmp_path)
    for written in re.findall(r"python -m tfscale.scripts.datasets (\w+) \.", recipe_texts()[name]):
        datasets.WRITERS[written](tmp_path)
    for exported in re.findall(r"tfscale (data export .*)", recipe_texts()[name]):
        assert cli.main(shlex.split(exported)) == 0
    words = [f"recipe={name}", "strategy/collective=in_process", "strategy.replicas=2", "train.batch=4"]
    job = run(build_job(*words), 2)
    assert job.state.step == 2


def test_there_are_recipes() -> None:
    assert len(recipe_texts()) >= 4


def test_learning_rates_follow_their_schedule(build_job: Callable[..., Job]) -> None:
    rates = {}
    for schedule in ("constant", "cosine", "exponential"):
        job = build_job(f"schedule={schedule}", "optimizer.learning_rate=0.1", "train.steps=20")
        optimizer = job.state.replicas[0].optimizer
        first = float(optimizer.learning_rate)
        run(job, 20)
        rates[schedule] = (first, float(optimizer.learning_rate))
    assert rates["constant"] == pytest.approx((0.1, 0.1))
    assert rates["cosine"] == pytest.approx((0.1, 0.0), abs=1e-6)
    assert rates["exponential"] == pytest.approx((0.1, 0.01))
