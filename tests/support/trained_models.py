"""Trained models of every kind of input, built in the test's own process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfscale.inference.trained import Trained
from tfscale.job.build import Job
from tfscale.training.state import weights_digest

KINDS: dict[str, tuple[str, ...]] = {
    "image": ("data=digits", "model=cnn"),
    "table of numbers": ("data=table", "data.file={numbers}", "data.label=y", "data.normalize=standardize"),
    "table with gaps": (
        *("data=table", "data.file={gaps}", "data.label=y", "data.missing=mean", "data.normalize=min_max"),
        "task=regression",
    ),
    "table with categories": ("data=table", "data.file={mixed}", "data.label=y", "data.normalize=standardize"),
    "words": ("data=text", "data.file={texts}", "data.length=6", "model=gru"),
    "characters": (
        *("data=text", "data.file={texts}", "data.tokens=characters", "data.length=9"),
        *("model=transformer", "model.width=8", "model.heads=2"),
    ),
    "pairs": ("data=npz", "data.file={pairs}", "model=siamese"),
    "bytes": ("data=npz", "data.file={bytes}"),
}
"""Kind of input -> overrides; `{name}` is a file that `files` writes."""


def files(folder: Path) -> dict[str, str]:
    """Writes the data of `KINDS`; returns name -> path."""
    random = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{n % 3}" for n, (a, b) in enumerate(random.standard_normal((30, 2)) * 50 + 1e6)]
    contents = {
        "numbers": "a,b,y\n" + "\n".join(rows) + "\n",
        "gaps": "a,b,y\n" + "".join(f"{'' if n % 4 == 0 else n},{n * n},{n / 3 + 0.1}\n" for n in range(30)),
        "mixed": "age,city,y\n"
        + "".join(f"{n},{['Rome', 'Oslo', 'Bonn'][n % 3]},{'no' * (n % 2) or 'yes'}\n" for n in range(30)),
        "texts": "text,label\n" + "".join(f'"The cat no. {n} sat, and ran!",{"ab"[n % 2]}\n' for n in range(30)),
    }
    paths = {}
    for name, content in contents.items():
        (folder / f"{name}.csv").write_text(content)
        paths[name] = str(folder / f"{name}.csv")
    halves = {"x_train.left": random.random((20, 3)), "x_train.right": random.random((20, 3))}
    np.savez(folder / "pairs.npz", y_train=np.arange(20) % 2, **halves)  # pyright: ignore[reportArgumentType]
    np.savez(folder / "bytes.npz", x_train=random.integers(0, 256, (20, 5), np.uint8), y_train=np.arange(20) % 4)

    return paths | {name: str(folder / f"{name}.npz") for name in ("pairs", "bytes")}


def trained(kind: str, build_job: Callable[..., Job], folder: Path) -> Trained:
    """Builds the model of a kind, untrained: weights at random do for comparisons."""
    paths = files(folder)
    job = build_job(*(word.format(**paths) for word in KINDS[kind]), "strategy.replicas=1")
    return of_job(job)


def of_job(job: Job) -> Trained:
    """Returns the model of a job."""
    model = job.state.replicas[0].model
    return Trained(
        name="a run",
        preprocessing=job.preprocessing,
        task=job.task,
        model=model,
        step=0,
        digest=weights_digest(model),
    )
