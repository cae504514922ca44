"""The Python interface: train, load and compose, for scripts and notebooks.

Training runs in processes of its own, as TensorFlow cannot change its devices in a process that has used it, and as a
supervised run must outlive a failed process. A trained model is loaded into this process.
"""

import json
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from tfscale import keras_backend, user_paths
from tfscale.checkpoint.folder import newest_complete
from tfscale.child_command import run_command
from tfscale.config import find_run, saved
from tfscale.config.evaluation import UNUSED_BY_MODEL
from tfscale.config.exports import format_of
from tfscale.config.find_run import Which, checkpoint_of
from tfscale.config.overrides import parse, quoted
from tfscale.config.preflight import preflight
from tfscale.runs.run_directory import PATH_FILE, RunDirectory
from tfscale.tracking.records import records

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfscale.inference.trained import Trained


def compose(*overrides: str, config_dir: str | None = None) -> dict[str, Any]:
    """Returns the configuration under some overrides, checked; nothing starts.

    Args:
        overrides: As on the command line: "model=lenet", "train.batch=64".
        config_dir: A folder of your own with options and recipes.

    Raises:
        UserError: A key or value is wrong.
    """
    return preflight(list(overrides), config_dir=config_dir).model_dump(mode="json")


def train(*overrides: str, config_dir: str | None = None, progress: bool = True) -> "Run":
    """Trains in processes of its own, and returns the run once it has ended.

    An interrupt stops the run after a checkpoint; `tfscale resume NAME` continues it.

    Args:
        overrides: As on the command line: "model=lenet", "strategy=sharing", "launch.np=2".
        config_dir: A folder of your own with options and recipes.
        progress: Whether the lines that a run prints are printed here.

    Raises:
        UserError: A key or value is wrong, or the data cannot be used; nothing was trained.
        RunError: The run failed.

    Example:
        >>> run = tfscale.train("train.epochs=3")  # doctest: +SKIP
        >>> run.summary["accuracy"]  # doctest: +SKIP
        0.97
    """
    if not any(parse_key(word) == "resume" for word in overrides):  # a resumed run has keys of its own
        preflight(list(overrides), config_dir=config_dir)
    flags = [] if config_dir is None else ["--config-dir", config_dir]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "run"
        run_command(["train", *flags, *overrides], {PATH_FILE: str(told)}, progress=progress)
        return Run(Path(told.read_text()), trust=_trusted(overrides))


def load(name: str, *, run_dir: str = "runs", trust: Sequence[str] = ()) -> "Run":
    """Returns an earlier run.

    Args:
        name: A run in `run_dir`, SWEEP/job-001 for a job of a sweep, the path of a run, or "latest".
        run_dir: The folder of all runs.
        trust: Modules of your own that the run uses, as `trust` on the command line.

    Raises:
        UserError: There is no such run.
    """
    return Run(find_run.find(name, user_paths.expanded(run_dir)), trust=trust)


@final
class Run:
    """A run, by its directory.

    Args:
        folder: The run directory.
        trust: Modules of your own that the run uses.
    """

    def __init__(self, folder: Path, *, trust: Sequence[str] = ()) -> None:
        self._directory, self._trust = RunDirectory(folder.absolute(), only_read=True), list(trust)
        self._loaded: tuple[tuple[str, str], Trained] | None = None
        self._served: keras.Model | None = None

    def __repr__(self) -> str:
        return f"tfscale.load({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self._directory.path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def summary(self) -> dict[str, Any]:
        """The results, as in summary.json; empty until the run has ended well."""
        return dict(self._directory.results())

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, in order: one dictionary each, ready for `pandas.DataFrame`."""
        return [*records(self._directory.metrics)]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return saved.read(self.folder, self._trust_override()).model_dump(mode="json")

    def model(self, checkpoint: Which = "newest") -> "keras.Model":
        """Returns the trained model with its preprocessing inside: raw examples in, the model's outputs out.

        Each call returns a model of its own, which may be trained or changed.

        Raises:
            UserError: There is no intact checkpoint.
        """
        from tfscale.inference.serving import serving_model

        return serving_model(self._load(checkpoint_of(checkpoint)), takes_text=True)

    def predict(self, x: Any, *, scores: bool = False, checkpoint: Which = "newest") -> "np.ndarray | dict[str, Any]":
        """Predicts raw examples in this process; `tfscale predict` is for files and many examples.

        Args:
            x: [n, ...] as the run's data have them: an array of pixels or of a table's columns, a list of texts, a
                DataFrame or dictionary of columns; a dictionary of arrays for a model with several inputs.
            scores: Whether the outputs are returned in place of the predictions: probabilities of classes.
            checkpoint: "newest", or "best" for that of the best evaluation.

        Returns:
            [n]: class names or numbers, or measurements; by output if the model has several.

        Raises:
            UserError: The examples are not of the run's kind.
        """
        from tfscale.inference.predict_here import predict_here

        return predict_here(self._trained(checkpoint), self._serving(checkpoint), x, scores=scores)

    def evaluate(self, *overrides: str, checkpoint: Which = "newest", progress: bool = False) -> dict[str, Any]:
        """Evaluates the run, in a process of its own.

        Args:
            overrides: As for `tfscale evaluate`: "evaluation=[classification,roc]", "data.file=test.csv".
            checkpoint: "newest", or "best" for that of the best evaluation.
            progress: Whether what the command prints is printed here.

        Returns:
            The document of evaluation.json.

        Raises:
            UserError: An override is wrong.
            RunError: The evaluation failed.
        """
        words = ["evaluate", *self._words(), f"checkpoint={checkpoint}", *overrides]
        run_command(words, {}, progress=progress)
        written = [path for name in ("", "other-data-") if (path := self.folder / f"{name}evaluation.json").is_file()]
        newest = max(written, key=lambda path: path.stat().st_mtime_ns)
        return json.loads(newest.read_text(encoding="utf-8"))

    def export(self, format: str, to: str | os.PathLike[str], *, checkpoint: Which = "newest") -> Path:
        """Exports the model, as `tfscale export` does, and returns the path.

        Args:
            format: keras, saved_model, weights, onnx or tflite.
            to: A new path.
            checkpoint: "newest", or "best" for that of the best evaluation.

        Raises:
            UserError: The path is taken or has another ending, or the format cannot hold the model.
            RunError: The file cannot be written, or gives other outputs.
        """
        from tfscale.inference.export import export, require

        path = user_paths.expanded(Path(to))
        kind = format_of(format)
        require(kind, path)
        export(self._trained(checkpoint), kind, path)
        return path

    def _trained(self, checkpoint: Which) -> "Trained":
        """Returns the model of a checkpoint, loaded once."""
        which, newest = checkpoint_of(checkpoint), newest_complete(self._directory.checkpoints)
        place = (which, "" if newest is None else newest.name)
        if self._loaded is None or self._loaded[0] != place:  # the run may have gone on since
            self._loaded, self._served = (place, self._load(which)), None
        return self._loaded[1]

    def _load(self, which: Which) -> "Trained":
        keras_backend.require()
        from tfscale.job.trained import load as load_trained

        config = saved.read(self.folder, self._trust_override(), unused=UNUSED_BY_MODEL)
        return load_trained(config, self._directory, which, warnings.warn)

    def _serving(self, checkpoint: Which) -> "keras.Model":
        """Returns the model of a checkpoint with its preprocessing, made once."""
        from tfscale.inference.serving import serving_model

        trained = self._trained(checkpoint)
        if self._served is None:
            self._served = serving_model(trained, takes_text=True)
        return self._served

    def _trust_override(self) -> list[Any]:
        return parse([f"trust=[{','.join(self._trust)}]"]) if self._trust else []

    def _words(self) -> list[str]:
        trust = [f"trust=[{','.join(self._trust)}]"] if self._trust else []
        return [f"run={quoted(self.name)}", f"run.dir={quoted(str(self.folder.parent))}", *trust]


def parse_key(word: str) -> str:
    """Returns the key of an override as it was typed."""
    return word.partition("=")[0].lstrip("+~")


def _trusted(overrides: Sequence[str]) -> list[str]:
    named = [word.partition("=")[2] for word in overrides if parse_key(word) == "trust"]
    return [each for each in re.split(r"[\[\],\s]+", named[-1]) if each] if named else []
