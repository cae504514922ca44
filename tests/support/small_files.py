"""A data set of twenty examples or so in each format of files that sources read."""

from pathlib import Path

import numpy as np

from tests.support.datasets import save
from tests.support.pictures import write_classes
from tests.support.shards import write


def small_files(folder: Path) -> dict[str, str]:
    """Writes a data set of each kind into a folder; returns kind -> path."""
    folder.mkdir(exist_ok=True)
    write_classes(folder / "images", {"a": 6, "b": 6})
    (folder / "t.csv").write_text("a,b,yes,no\n" + "".join(f"{n},{n / 4},{n % 2},{n // 2 % 2}\n" for n in range(20)))
    (folder / "npy").mkdir(exist_ok=True)
    for name in ("x_train", "y_train"):
        np.save(folder / "npy" / f"{name}.npy", np.arange(40).reshape(20, 2)[:, : 2 if name == "x_train" else 1] % 4)
    (folder / "texts.csv").write_text("text,label\n" + "".join(f"one two {n},{n % 2}\n" for n in range(20)))
    write(folder / "records" / "a.tfrecord", [{"x": [n / 4, 1.0], "y": [n % 2]} for n in range(20)])
    npz, part = save(folder / "d.npz"), np.ones((20, 3))
    np.savez(folder / "p.npz", **{"x_train.left": part, "x_train.right": part, "y_train": np.arange(20) % 2})
    tables = {"table": f"{folder}/t.csv", "texts": f"{folder}/texts.csv", "pairs": f"{folder}/p.npz"}
    folders = {name: f"{folder}/{name}" for name in ("npy", "images", "records")}
    return {"npz": npz, **folders, **tables}
