"""Paragraphs of the docstrings of four packages that every installation of tfscale has: texts without a download.

A module's paragraphs are all in one split, and a paragraph that occurs twice or names a package is left out, so a model
has to learn what the packages write about.
"""

import ast
import hashlib
import importlib.util
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from tfscale.errors import UserError

PACKAGES = ("keras", "numpy", "scipy", "sklearn")
WORDS = (8, 60)
"""Fewest and most words of a paragraph."""

MODULES: int | None = None
"""Most modules of a package that are read; None for all. Tests read a few."""

_NAMES = re.compile(r"keras|tensorflow|\btf\b|numpy|\bnp\b|scipy|sklearn|scikit|\bjax\b|torch", re.IGNORECASE)
_CODE = re.compile(r">>>|::|\.\. |```|[=|]{2}|[-~^]{3}")
_SPLITS = ("validation", "test")


def texts() -> dict[str, list[tuple[str, str]]]:
    """Returns (text, package) of every paragraph of the splits train, validation and test."""
    found: dict[str, tuple[str, str]] = {}
    repeated: set[str] = set()
    for package in PACKAGES:
        root = _folder(package)
        modules = [path for path in sorted(root.rglob("*.py")) if "tests" not in path.parts]
        for path in modules[:MODULES]:
            split = _split(f"{package}/{path.relative_to(root)}")
            for text in _paragraphs(path):
                repeated |= {text} & found.keys()
                found[text] = split, package
    kept = [(text, *where) for text, where in found.items() if text not in repeated]
    return {split: [(text, package) for text, own, package in kept if own == split] for split in ("train", *_SPLITS)}


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # does not import it
    if spec is None or spec.origin is None:
        raise UserError(f"{package} must be installed; type: pip install {package}")
    return Path(spec.origin).parent


def _split(name: str) -> str:
    tenth = hashlib.sha256(name.encode()).digest()[0] % 10
    return _SPLITS[tenth] if tenth < len(_SPLITS) else "train"


def _paragraphs(path: Path) -> Iterator[str]:
    """Returns the paragraphs of prose in the docstrings of a module, each on one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in strings of others
        tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            for block in re.split(r"\n\s*\n", inspect.cleandoc(ast.get_docstring(node) or "")):
                text = " ".join(block.split())
                if WORDS[0] <= len(text.split()) <= WORDS[1] and not _CODE.search(text) and not _NAMES.search(text):
                    yield text
