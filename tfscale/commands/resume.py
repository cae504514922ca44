"""tfscale resume: goes on with a run that ended early, after its last sound checkpoint.

usage: tfscale resume [NAME | latest] [run.dir=DIR] [KEY=VALUE ...]

  NAME           the folder of the run in run.dir (default: runs); latest, or nothing: the one that was started last
  KEY=VALUE      a value to change: train.epochs=20; launch.np=2 for another number of processes, which ends in the same
                 bits for strategy=sharing, and with strategy.reproducible=true
"""

from collections.abc import Sequence
from pathlib import Path

from tfscale.commands import train
from tfscale.config import preflight
from tfscale.errors import UserError


def main(words: Sequence[str]) -> int:
    """Runs `tfscale resume`; see the module's docstring."""
    if words and words[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    names = [word for word in words if "=" not in word and not word.startswith("-")]
    if len(names) > 1:
        raise UserError(f"resume must have one run, got {' and '.join(names)}; type: tfscale resume {names[0]}")
    rest = [word for word in words if word not in names]
    given = dict(word.split("=", 1) for word in rest if "=" in word)
    folder = Path(given.get("run.dir", "runs")).expanduser()
    name = _latest(folder) if names in ([], ["latest"]) else names[0]
    return train.main(["resume=true", f"run.name={name}", *rest])


def _latest(folder: Path) -> str:
    """The run in `folder` that was started last.

    Raises:
        UserError: There is none.
    """
    starts = {path.parent.name: path.stat().st_mtime for path in folder.glob(f"*/{preflight.SAVED}")}
    if not starts:
        raise UserError(f"there are no runs in {folder}; type tfscale train, or name their folder: run.dir=DIR")
    return max(starts, key=lambda name: starts[name])
