"""The floors of the architecture: imports only go down, and no peer imports a peer."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "tfscale"
FLOORS = {
    "__init__": 0, "errors": 0, "atomic_file": 0, "specs": 0.5, "terminal": 0.5, "user_paths": 0.5, 
    "userinfo": 0.5, "dotted_keys": 0.5, "startup_noise": 0.7, "keras_backend": 0.5, "child_command": 0.5,
    "kernels": 1, "cores": 0.5, "majority": 0.5, "world": 1, "devices": 1, "vectors": 1, "digest": 1.5,
    "collectives": 2, "checkpoint": 2, "data": 2, "models": 2, "tasks": 2, "tracking": 2,
    "evaluation": 2,
    "compression": 3, "runs": 3, "config": 3,
    "strategies": 4, "supervision": 4, "inference": 4, "estimate": 4,
    "training": 5, "launchers": 5,
    "job": 6, "search": 6, "report": 6,
    "api": 7, "commands": 7, "cli": 8, "__main__": 9,
    "conf": -1, "recipes": -1, "scripts": 10,
}  # fmt: skip
"""The number of each folder's floor; a fraction where one file of a floor serves the others of it."""

# A parent never imports TensorFlow, and neither does anything that must answer at once.
WITHOUT_TENSORFLOW = (
    *("cli", "api", "config", "launchers", "supervision", "runs", "search", "checkpoint", "report"),
    *("errors", "user_paths", "world", "terminal", "startup_noise", "cores", "majority"),
)
PERMITTED = {("startup_noise", "tensorflow"), ("api", "keras")}  # in a function: what it silences; for types alone


def modules() -> Iterator[tuple[str, Path, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        yield (
            ".".join(("tfscale", *relative.with_suffix("").parts)),
            path,
            relative.parts[0].removesuffix(".py"),
        )


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Imported module names, and whether the import is at the top of the file (run when the module is)."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) not in guarded
            if node.module == "tfscale" or node.module.startswith("tfscale."):
                yield from ((f"{node.module}.{alias.name}", id(node) not in guarded) for alias in node.names)


def part(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def test_imports_only_go_down() -> None:
    seen, wrong = 0, []
    for name, path, own in modules():
        if own == "__init__":  # the facade names what is imported at first use; tests/test_api.py holds that
            continue
        for imported, _ in imports(path):
            if imported.startswith("tfscale.") and part(imported) in FLOORS:
                seen += 1
                other = part(imported)
                if other != own and FLOORS[other] >= FLOORS[own]:
                    wrong.append(f"{name} (floor {FLOORS[own]}) imports {imported} (floor {FLOORS[other]})")
    assert not wrong
    assert seen > 100, "the test found too few imports to mean anything"


def test_every_part_has_a_floor() -> None:
    assert {own for _, _, own in modules()} <= FLOORS.keys()


def test_only_one_module_imports_horovods_collectives() -> None:
    users = {name for name, path, _ in modules() for each, _ in imports(path) if each.startswith("horovod.tensorflow")}
    assert users == {"tfscale.collectives.horovod"}


def test_hydra_is_used_only_at_the_boundary() -> None:
    users = {
        own for _, path, own in modules() for each, _ in imports(path) if each.split(".")[0] in ("hydra", "omegaconf")
    }
    assert users == {"config"}


def test_fast_parts_do_not_import_tensorflow() -> None:
    wrong = [
        f"{name} imports {each}"
        for name, path, own in modules()
        for each, _ in imports(path)
        if own in WITHOUT_TENSORFLOW and each.split(".")[0] in ("tensorflow", "keras") and (own, each) not in PERMITTED
    ]
    assert not wrong


def test_there_is_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {}
    names = {name for name, _, _ in modules()}
    for name, path, _ in modules():
        graph[name] = {each for each, at_top in imports(path) if at_top and each in names and each != name}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for each in graph[name]:
                visit(each, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert len(done) > 40


def test_files_stay_small_and_say_why_they_exist() -> None:
    long = {name: lines for name, path, _ in modules() if (lines := len(path.read_text().splitlines())) > 300}
    assert not long
    silent = [name for name, path, _ in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent
