"""tfscale evaluate: measures a trained run on its test data.

usage: tfscale evaluate run=NAME [run.dir=DIR] [checkpoint=best] [KEY=VALUE ...]

  run=NAME       the folder of the run in run.dir (default: runs), or its path
  checkpoint     newest (the default), or best: that of the best evaluation, which early_stopping.keep_best=true keeps
  KEY=VALUE      a value of the run's configuration to change, data.folder=DIR for instance

Under horovodrun -np N the test data is divided over N processes, with the same
result. It is printed, and written to evaluation.json in the run's folder.
"""

from collections.abc import Sequence
from pathlib import Path

from tfscale.config import preflight
from tfscale.errors import UserError
from tfscale.startup_noise import hidden_startup_noise
from tfscale.world import World, from_environment


def main(words: Sequence[str]) -> int:
    """Runs `tfscale evaluate`; see the module's docstring."""
    if words and words[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if "run" not in given:
        raise UserError("evaluate must have the name of a run; type: tfscale evaluate run=NAME")
    named = Path(given["run"]).expanduser()
    folder = named if (named / preflight.SAVED).is_file() else Path(given.get("run.dir", "runs")).expanduser() / named
    which = given.get("checkpoint", "newest")
    if which not in ("newest", "best"):
        raise UserError(f"checkpoint must be newest or best, got {which}; leave it out for the newest")
    rest = [word for word in words if word.split("=", 1)[0] not in ("run", "run.dir", "checkpoint")]
    config = preflight.saved(folder, rest)
    world = from_environment() or World()
    with hidden_startup_noise():
        from tfscale.job.evaluate import evaluate_run
    return evaluate_run(config, world, folder, best=which == "best")
