"""Settings that mean harm: nothing of them runs, and each is refused in a few words."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
from tfscale.scripts import fuzz_settings

from tfscale.config import plugins, untrusted, validate
from tfscale.config.allowed import ALLOWED
from tfscale.config.preflight import SUM, preflight, saved
from tfscale.config.schema import Config
from tfscale.errors import UserError

GADGETS = (Path(__file__).parent / "gadgets.txt").read_text().split()
"""Names that have been used to run code from configuration files, or would do harm when they are called."""

PLACES = (
    *(
        "model",
        "data",
        "optimizer",
        "schedule",
        "strategy",
        "loss",
        "metrics.accuracy",
        "metrics.new",
        "early_stopping",
    ),
    *("strategy.collective", "strategy.codec", "strategy.threshold", "model.kernel_initializer", "model.inside.deep"),
    *("loss.inside", "data.inside", "optimizer.inside", "strategy.threshold.inside", "metrics.accuracy.inside"),
    "early_stopping.inside",
)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """A sound configuration with every node that there is."""
    sound = preflight(["strategy=sharing"], config_dir=None).model_dump()
    assert not validate.problems_of(sound)
    return sound


def put(values: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    node = changed
    *path, last = place.split(".")
    for part in path:
        node = node.setdefault(part, {})
    node[last] = value
    return changed


def test_there_are_many_gadgets() -> None:
    assert len(set(GADGETS)) >= 150


@pytest.mark.parametrize("place", PLACES)
def test_no_gadget_is_permitted_anywhere(values: dict[str, Any], place: str) -> None:
    for gadget in GADGETS:
        assert validate.problems_of(put(values, place, {"_target_": gadget})), f"{gadget} in {place}"
    for node in (
        [[{"_target_": "os.system"}]],
        {"x": {"_target_": "os.system"}},
        {"x": [{"y": {"_target_": "os.kill"}}]},
    ):
        assert validate.problems_of(put(values, place, node)), f"{node} in {place}"


def test_every_node_that_is_called_has_a_list_of_what_it_may_be() -> None:
    free = {name for name, field in Config.model_fields.items() if "dict" in str(field.annotation)}
    assert free <= ALLOWED.keys()


def user_file(folder: Path, text: str, name: str = "model/mlp.yaml") -> str:
    path = folder / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(folder / "conf")


REFUSED = {
    "a file of another size": ("x: '" + "y" * 300_000 + "'\n", "must have at most 262,144 bytes, got 300,"),
    "a bomb": (fuzz_settings.bomb(), "must stand for at most 100,000 values"),
    "a node inside of itself": ("a: &a [*a]\n", "line 1 must not use *a inside of itself"),
    "depth": ("a: " + "[" * 40 + "]" * 40 + "\n", "must have at most 30 levels, got more in line 1"),
    "an object": ("a: !!python/object/apply:os.system [id]\n", "line 1 must hold plain data, got the tag"),
    "Hydra's section": ("seed: 1\nhydra:\n  run:\n    dir: /x\n", "line 2 must not set hydra"),
    "Hydra's keys": ("hydra.run.dir: x\n", "line 1 must not set hydra.run.dir"),
    "Hydra's groups": ("defaults:\n  - override hydra/launcher: x\n", "line 2 must not set override hydra/launcher"),
    "Hydra's package": ("# @package hydra.run\ndir: x\n", "must not be of a package of Hydra's own"),
    "no text": ("a: \x01\n", "is not YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_may_not_be_composed_is_refused(tmp_path: Path, name: str) -> None:
    text, wanted = REFUSED[name]
    with pytest.raises(UserError) as caught:
        preflight([], config_dir=user_file(tmp_path, text))
    assert wanted in str(caught.value)
    sound = text.encode() + SUM + hashlib.sha256(text.encode()).hexdigest().encode() + b"\n"
    (tmp_path / "config.yaml").write_bytes(sound)
    with pytest.raises(UserError) as caught:
        saved(tmp_path, [])
    assert wanted.replace("300,", "") in str(caught.value)


def test_plain_yaml_may_use_nodes_again(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {hydra: 1, b: !!str 5}\nc: *a\nd: {<<: *a, hydra: 2}\ne: [hydra]\n")
    untrusted.check(path)


def test_a_folder_that_holds_the_world_is_refused(tmp_path: Path) -> None:
    for number in range(untrusted.MOST_FILES + 1):
        (tmp_path / str(number)).touch()
    with pytest.raises(UserError, match="--config-dir must be a folder of configuration files"):
        preflight([], config_dir=str(tmp_path))


def test_files_cannot_trust_themselves(tmp_path: Path) -> None:
    folder = user_file(
        tmp_path, "# @package _global_\ntrust: [os]\nmodel:\n  _target_: os.getcwd\n", "recipe/evil.yaml"
    )
    with pytest.raises(UserError, match="trust must be given on the command line"):
        preflight(["recipe=evil"], config_dir=folder)


def test_an_installed_package_may_offer_its_code(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = put(values, "model", {"_target_": "offered.models.net"})
    assert validate.problems_of(offered)
    metadata = tmp_path / "offered-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: offered\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tfscale.plugins]\nmine = offered\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.modules.cache_clear()
    try:
        assert not validate.problems_of(offered)
        assert validate.problems_of(put(values, "model", {"_target_": "offerings.net"}))
    finally:
        plugins.modules.cache_clear()


def test_what_a_message_quotes_is_short_and_in_one_line() -> None:
    (problem,) = UserError("got " + "x" * 10_000 + "\n\x1b[2Jend").problems
    assert len(problem) < 700
    assert problem.endswith("\\n\\x1b[2Jend")
    assert len(UserError(*map(str, range(100))).problems) == 16


def test_random_damage_gets_one_clear_message() -> None:
    outcomes, problems = fuzz_settings.fuzz(range(90), seed=4)
    assert not problems, "\n".join(problems)
    assert outcomes["refused"] > 30
