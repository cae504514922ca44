"""What `model.init_from` and `model.freeze` may be, said before TensorFlow is imported."""

from pathlib import Path

import pytest

from tfscale.config import saved, targets
from tfscale.config.overrides import parse
from tfscale.config.preflight import check_job, preflight
from tfscale.config.schemas.config import Config
from tfscale.config.transfer import origin_of
from tfscale.errors import UserError


def checked(*words: str) -> Config:
    return check_job(preflight(words, config_dir=None), processes=1)


def a_run(folder: Path, *words: str) -> Path:
    folder.mkdir(parents=True)
    saved.write(preflight(words, config_dir=None), folder)
    return folder


@pytest.mark.parametrize("model", ["mlp", "cnn", "lenet"])
def test_every_model_has_the_keys(model: str) -> None:
    values = checked(f"model={model}").model
    assert values["init_from"] is None
    assert values["freeze"] == []


def test_a_model_of_the_users_own_has_them_too(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "own.yaml").write_text("_target_: mine.net\nwidth: 3\n")
    found = preflight(["model=own", "trust=[mine]", "model.freeze=[base]"], config_dir=str(tmp_path))
    assert found.model == {"_target_": "mine.net", "width": 3, "init_from": None, "freeze": ["base"]}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.init_from=x.pt", r"model.init_from must be run:NAME, .* or null, got x.pt"),
        ("model.init_from=run:", r"model.init_from must be run:NAME, .* or null, got run:"),
        ("model.init_from=3", r"model.init_from must be run:NAME, .* or null, got 3"),
        ("model.init_from=x.npz", r"must be run:NAME or a file that exists, got x.npz; check the path"),
        ("model.init_from=run:latest", r"must name the run, got run:latest; type tfscale runs"),
        ("model.init_from=run:firs", r"model.init_from=run:firs: run firs does not exist in runs; .*runs there: first"),
        (
            "model.freeze=base",
            r"model.freeze must be a list of names of layers or variables, such as \[base\], got base",
        ),
        ("model.freeze=['']", r"model.freeze must be a list of names"),
        ("model.freze=[a]", r"model.freze is not a key; did you mean model.freeze\?"),
    ],
)
def test_what_cannot_be_used_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "runs" / "first")
    with pytest.raises(UserError, match=message) as caught:
        checked(word)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", ["net.keras", "net.weights.h5"])
def test_a_file_of_keras_is_read_only_if_trust_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    message = rf"model.init_from={name} is a file of Keras, .*; if you trust it, type trust=\[{name}\], or give a"
    with pytest.raises(UserError, match=message):
        checked(f"model.init_from={name}")
    with pytest.raises(UserError, match=message):
        checked(f"model.init_from={name}", "trust=[other.keras]")
    checked(f"model.init_from={name}", f"trust=[{name}]")


def test_a_trusted_file_is_no_trusted_module() -> None:
    assert targets.modules_in(["mine", "net.keras", "a/b.weights.h5"]) == ["mine"]
    with pytest.raises(UserError, match=r"model._target_ must begin with"):
        checked("trust=[net.keras]", "model._target_=net.keras.Evil")


def test_a_run_is_found_as_commands_find_it(tmp_path: Path) -> None:
    path = a_run(tmp_path / "runs" / "first")
    origin = origin_of(checked("model.init_from=run:first@best", f"run.dir={path.parent}"))
    assert origin is not None
    assert (origin.path, origin.is_run, origin.best) == (path, True, True)


def test_a_resumed_run_does_not_look_for_what_it_began_with(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first")
    second = a_run(tmp_path / "second", "model.init_from=run:first", f"run.dir={tmp_path}")
    (first / "config.yaml").unlink()
    config = saved.read(second, parse(["resume=true"]))
    assert check_job(config, processes=1).model["init_from"] == "run:first"


@pytest.mark.parametrize("word", ["model.freeze=[]", "model.init_from=null"])
def test_a_resumed_run_keeps_them(tmp_path: Path, word: str) -> None:
    path = a_run(tmp_path / "first")
    with pytest.raises(
        UserError, match=rf"{word.partition('=')[0]} cannot change in an earlier run: .*start a new run"
    ):
        saved.read(path, parse([word]))
