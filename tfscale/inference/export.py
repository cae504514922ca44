"""Exports a trained model: its weights, or the model with its preprocessing inside.

An export is written beside its final name, loaded in a process without tfscale, and compared with the trained model
behind the training pipeline. Only an export whose outputs agree gets the final name.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfscale.config.exports import ENDINGS, Format
from tfscale.data.encoding import Columns
from tfscale.errors import RunError, UserError
from tfscale.inference import export_check
from tfscale.inference.export_formats import WRITERS, Writer, output_names
from tfscale.inference.export_samples import samples
from tfscale.inference.serving import input_names, plain_layers, serving_model
from tfscale.inference.trained import Trained
from tfscale.specs import leaves

TOLERANCE = 1e-5
"""Largest difference of an output, absolute where it is below 1 and otherwise relative."""

PACKAGES: Mapping[Format, tuple[str, ...]] = {"onnx": ("onnx", "tf2onnx", "onnxruntime")}
"""Format -> packages of its extra."""


def export(trained: Trained, kind: Format, path: Path) -> float:
    """Writes and verifies an export.

    Args:
        trained: The model.
        kind: Name of the format.
        path: Final name; must be new.

    Returns:
        The largest difference of an output.

    Raises:
        UserError: The name is taken or has another ending, a package is missing, or the format cannot hold the model.
        RunError: The disk is full; or the export has other outputs than the trained model.
    """
    form = WRITERS[kind]
    require(kind, path)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    model = plain_layers(trained.model) if kind == "weights" else serving(trained, form)
    try:
        write(trained, kind, model, partial)
        difference = verify(trained, kind, model, partial)
        os.rename(partial, path)
    except OSError as error:
        raise RunError(f"to={path} cannot be written to ({error.strerror}); type the command again") from None
    finally:
        discard(partial)
    return difference


def require(kind: Format, path: Path) -> None:
    """Checks the name of an export, before a model is built.

    Raises:
        UserError: See `export`.
    """
    endings = ENDINGS[kind]
    missing = [name for name in PACKAGES.get(kind, ()) if find_spec(name) is None]
    if missing:
        raise UserError(f"format={kind} needs the package {missing[0]}; type: pip install 'tfscale[{kind}]'")
    if not path.name.endswith(endings):
        raise UserError(f"to must end in {' or '.join(endings)} for format={kind}, got {path}; give another name")
    if path.exists() or path.is_symlink():
        raise UserError(f"to must be a new name, got {path}, which exists; give another, or remove it")
    if not path.absolute().parent.is_dir():
        raise UserError(f"to must lie in an existing folder, got {path}; make {path.absolute().parent}")


def write(trained: Trained, kind: Format, model: keras.Model, path: Path) -> None:
    """Writes a model in a format, with its metadata."""
    WRITERS[kind].write(model, path, {**metadata(trained), **({} if kind == "weights" else signature(model))})


def serving(trained: Trained, form: Writer) -> keras.Model:
    return serving_model(trained, takes_text=form.takes_text, wide=form.wide)


def metadata(trained: Trained) -> dict[str, Any]:
    """Returns what an export says of itself: its origin, and the names of classes and columns."""
    learned = trained.preprocessing
    targets = {name or "output": spec for name, spec in leaves(learned.spec.y or ()).items()}
    inputs = leaves(learned.spec.x)
    return {
        "tfscale": version("tfscale"),
        "run": trained.name,
        "step": trained.step,
        "sha256": trained.digest,
        "task": trained.task.name,
        "classes": {name: spec.names for name, spec in targets.items() if spec.names is not None},
        "columns": {name or "input": spec.names for name, spec in inputs.items() if spec.names is not None},
        "input_of_column": input_names(learned.encoding) if isinstance(learned.encoding, Columns) else {},
    }


def signature(model: keras.Model) -> dict[str, Any]:
    """Returns the inputs and outputs of a serving model, for its metadata."""
    return {
        "inputs": {each.name: {"dtype": each.dtype, "shape": list(each.shape[1:])} for each in model.inputs},
        "outputs": output_names(model),
    }


def verify(trained: Trained, kind: Format, model: keras.Model, path: Path) -> float:
    """Loads an export without tfscale, and returns the largest difference of an output to the trained model's.

    Raises:
        RunError: It cannot be loaded, or has other outputs.
    """
    form = WRITERS[kind]
    if kind == "weights":
        raw, wanted = {}, _weights(model, path)
    else:
        tried = samples(trained.preprocessing, takes_text=form.takes_text, wide=form.wide)
        raw = tried.raw
        outputs = trained.model(tried.prepared, training=False)
        names = output_names(model)
        wanted = {name: np.asarray(part) for name, part in zip(names, leaves(outputs).values(), strict=True)}
    found = _loaded(kind, path, raw)
    if found.keys() != wanted.keys():
        raise RunError(f"the export has outputs {', '.join(found)}, not {', '.join(wanted)}; this is a bug")
    difference = max(_difference(found[name], wanted[name]) for name in wanted)
    if not difference <= TOLERANCE:
        raise RunError(
            f"format={kind} changes the outputs of this model by {difference:.1e}, more than {TOLERANCE:g}, and was "
            "not kept; export it in another format"
        )
    return difference


def _weights(model: keras.Model, path: Path) -> dict[str, np.ndarray]:
    if path.name.endswith(".safetensors"):
        return {each.path: each.numpy() for each in model.weights}
    with tempfile.TemporaryDirectory() as folder:  # read as the export is: the order of HDF5 is that of names
        copy = Path(folder) / "own.weights.h5"
        model.save_weights(copy)
        return export_check.READERS["weights"](str(copy), {})


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    apart = np.abs(np.asarray(found, np.float64) - np.asarray(wanted, np.float64))
    return float((apart / np.maximum(1.0, np.abs(np.asarray(wanted, np.float64)))).max())


def _loaded(kind: Format, path: Path, raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        arrays: dict[str, Any] = dict(raw)
        np.savez(inputs, **arrays)
        script = str(Path(export_check.__file__))
        words = [sys.executable, "-P", script, kind, str(path), str(inputs), str(outputs)]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise RunError(f"the export cannot be loaded without tfscale: {lines[-1]}")
        with np.load(outputs) as file:
            return dict(file)


def discard(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
