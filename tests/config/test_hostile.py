"""Settings that mean harm: nothing of them runs, and each is refused in a few words."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
from tfscale.scripts.fuzz import cases, settings

from tfscale.config import saved, targets, validate, yaml_limits
from tfscale.config.instantiate import instantiate
from tfscale.config.overrides import parse
from tfscale.config.preflight import preflight
from tfscale.config.saved import SUM
from tfscale.config.schemas.config import Config
from tfscale.config.targets import ALLOWED_TARGETS
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
    assert free <= ALLOWED_TARGETS.keys()


def user_file(folder: Path, text: str, name: str = "model/mlp.yaml") -> str:
    path = folder / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(folder / "conf")


REFUSED = {
    "a file of another size": ("x: '" + "y" * 300_000 + "'\n", "must have at most 262,144 bytes, got 300,"),
    "a bomb": (cases.bomb(), "must stand for at most 100,000 values"),
    "a node inside of itself": ("a: &a [*a]\n", "line 1 must not use *a inside of itself"),
    "depth": ("a: " + "[" * 40 + "]" * 40 + "\n", "must have at most 30 levels, got more in line 1"),
    "an object": ("a: !!python/object/apply:os.system [id]\n", "line 1 must hold plain data, got the tag"),
    "Hydra's section": ("seed: 1\nhydra:\n  run:\n    dir: /x\n", "must not set hydra:"),
    "Hydra's section, merged": ("<<: {hydra: {searchpath: ['pkg://x']}}\n", "must not set hydra:"),
    "Hydra's section, by a name": ("a: &x hydra\n*x : {searchpath: ['pkg://x']}\n", "must not set hydra:"),
    "Hydra's keys": ("hydra.run.dir: x\n", "must not set hydra.run.dir:"),
    "Hydra's groups": ("defaults:\n  - override hydra/launcher: x\n", "must not set {'override hydra/launcher': 'x'}"),
    "Hydra's place": ("defaults:\n  - model@_global_.hydra: x\n", "must not set {'model@_global_.hydra': 'x'}"),
    "Hydra's package": ("# @package hydra.run\ndir: x\n", "must not be of a package of Hydra's own"),
    "Hydra's package, from the root": (
        "# @package _global_.hydra\ndir: x\n",
        "must not be of a package of Hydra's own",
    ),
    "Hydra's package, on a line of its own kind": ("# @a b\r# @package hydra\ndir: x\n", "of a package of Hydra's own"),
    "no text": ("a: \x01\n", "is not YAML"),
    "interpolations": ("".join(f"a{i}: ${{.a{i - 1}}}${{.a{i - 1}}}\n" for i in range(1, 20)), "at most 24 interpol"),
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
        saved.read(tmp_path, [])
    assert wanted.replace("300,", "") in str(caught.value)


def test_plain_yaml_may_use_nodes_again(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {hydra: 1, b: !!str 5}\nc: *a\nd: {<<: *a, hydra: 2}\ne: [hydra]\n")
    yaml_limits.check(path)


def test_what_links_point_to_is_looked_at(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "mlp.yaml").write_text("hydra: {searchpath: ['pkg://x']}\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "model").symlink_to(hidden)
    (hidden / "again").symlink_to(tmp_path / "conf")
    with pytest.raises(UserError, match="must not set hydra"):
        preflight([], config_dir=str(tmp_path / "conf"))


@pytest.mark.parametrize(("text", "kind"), [("895\n", "int"), ("- model: mlp\n", "list")])
def test_a_users_file_without_keys_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    with pytest.raises(UserError, match=f"must hold keys and their values, got a {kind}; write KEY: VALUE lines"):
        preflight([], config_dir=user_file(tmp_path, text))


def test_a_group_that_no_folder_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"defaults:\n  - {'a' * 300}: x\n")
    with pytest.raises(UserError, match=r"the configuration cannot be composed: .*File name too long"):
        preflight([], config_dir=str(tmp_path))


@pytest.mark.parametrize("word", ["name", "${run.dir}"])
def test_nothing_is_composed_twice(tmp_path: Path, word: str) -> None:
    metric = "_target_: keras.metrics.SparseCategoricalAccuracy"
    text = f"# @package _global_\nmetrics:\n  m:\n    {metric}\n    name: '{word}'\n"
    assert preflight(["recipe=own"], config_dir=user_file(tmp_path, text, "recipe/own.yaml")).metrics["m"]
    text = text.replace(f"'{word}'", r"'\${oc.create:{_target_: os.kill}}'")
    with pytest.raises(UserError, match=r"^metrics\.m\.name must not hold \$\{"):
        preflight(["recipe=own"], config_dir=user_file(tmp_path, text, "recipe/own.yaml"))


@pytest.mark.parametrize("part", ["codec", "collective", "threshold"])
def test_a_part_that_is_no_node_is_refused(values: dict[str, Any], part: str) -> None:
    strategy = {"_target_": "mine.Strategy", part: [{"_target_": "os.kill"}]}
    problems = validate.problems_of({**values, "trust": ["mine"], "strategy": strategy})
    assert problems == [f"strategy.{part} must be a node with a _target_, got list; type: tfscale ls"]


def test_trust_in_a_module_is_not_trust_in_what_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "borrower.py").write_text("import os\nfrom pathlib import Path\ndef own(**given): return given\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert instantiate("data", {"_target_": "borrower.own", "x": 1}) == {"x": 1}
    for target in ("borrower.Path", "borrower.os.getcwd"):
        for node in ({"_target_": target}, {"_target_": "borrower.own", "inside": [{"_target_": target}]}):
            with pytest.raises(UserError, match=f"data._target_={target} is code of "):
                instantiate("data", node)


def test_a_run_that_trusts_modules_is_asked_about_them(tmp_path: Path) -> None:
    words = ["trust=[mine]", "model._target_=mine.net"]
    saved.write(preflight(words, config_dir=None), tmp_path)
    with pytest.raises(UserError, match=r"runs code of mine: add trust=\[mine\] if you trust it"):
        saved.read(tmp_path, [])
    assert saved.read(tmp_path, parse(["trust=[mine]"])).model["_target_"] == "mine.net"


def test_a_folder_that_holds_the_world_is_refused(tmp_path: Path) -> None:
    for number in range(yaml_limits.MOST_FILES + 1):
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
    offered = put(values, "model", {"_target_": "offered.models.net", "init_from": None, "freeze": []})
    assert validate.problems_of(offered)
    metadata = tmp_path / "offered-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: offered\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tfscale.plugins]\nmine = offered\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    targets.plugin_modules.cache_clear()
    try:
        assert not validate.problems_of(offered)
        assert validate.problems_of(
            put(values, "model", {"_target_": "offerings.net", "init_from": None, "freeze": []})
        )
    finally:
        targets.plugin_modules.cache_clear()


def test_what_a_message_quotes_is_short_and_in_one_line() -> None:
    (problem,) = UserError("got " + "x" * 10_000 + "\n\x1b[2Jend").problems
    assert len(problem) < 700
    assert problem.endswith("\\n\\x1b[2Jend")
    assert len(UserError(*map(str, range(100))).problems) == 16


def test_random_damage_gets_one_clear_message() -> None:
    outcomes, problems = settings.fuzz(range(40), seed=4)
    assert not problems, "\n".join(problems)
    assert outcomes["refused"] > 15


@pytest.mark.parametrize(("file", "words"), [("recipe/own.yaml", ["recipe=own"]), ("local/default.yaml", [])])
def test_a_file_whose_keys_would_be_ignored_is_refused(tmp_path: Path, file: str, words: list[str]) -> None:
    """Without its first line a recipe trained with the defaults, and said nothing."""
    with pytest.raises(UserError, match=r"file must begin with the line `# @package _global_`; add it"):
        preflight(words, config_dir=user_file(tmp_path, "seed: 7\n", file))
    config = preflight(words, config_dir=user_file(tmp_path, "# @package _global_\nseed: 7\n", file))
    assert config.seed == 7
