"""What a user gets from pip: a wheel and an sdist that carry conf/ and recipes/, working without Horovod."""

import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def shell(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds sdist and, from it, the wheel, out of a copy of what git would commit."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = shell("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split()
    for name in listed:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    shell(sys.executable, "-m", "build", "--outdir", out, source, cwd=source)
    return out


def shipped() -> set[str]:
    conf = {f"conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    return conf | {f"recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}


def test_pyproject_lists_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tfscale").rglob("*.py")}
    assert {".".join(folder.parts) for folder in folders} <= set(listed)


@pytest.mark.slow
def test_wheel_and_sdist_carry_configuration_and_recipes(built: Path) -> None:
    assert len(shipped()) > 30
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"tfscale/{name}" for name in shipped()} <= names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "tfscale").rglob("*.py")}
    assert modules <= names
    with tarfile.open(sdist) as archive:
        inside = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert shipped() <= inside


@pytest.mark.slow
def test_the_wheel_works_alone_in_an_empty_folder(built: Path, tmp_path: Path) -> None:
    """A new environment, only what pip brings, no Horovod."""
    (wheel,) = built.glob("*.whl")
    shell(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    shell(python, "-m", "pip", "install", "-q", "-c", ROOT / "requirements.txt", wheel, cwd=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    tfscale = tmp_path / "env" / "bin" / "tfscale"
    shell(tfscale, "train", "run.name=one", cwd=empty)
    assert json.loads((empty / "runs" / "one" / "summary.json").read_text())["accuracy"] >= 0.95
    assert "sharing_mnist" in shell(tfscale, "ls", cwd=empty).stdout
    refused = subprocess.run(
        [str(tfscale), "train", "strategy=sharing"],
        cwd=empty,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert "build it with `python -m tfscale.scripts.build.horovod`" in refused.stderr
    said = subprocess.run([str(tfscale), "doctor"], cwd=empty, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stdout
    assert "to fix it: python -m tfscale.scripts.build.horovod" in said.stdout
    shell(python, "-m", "tfscale.scripts.build.horovod", "--help", cwd=empty)
