"""Weights & Biases by its plain client: its callbacks for Keras do not work with Keras 3.

W&B numbers the rows of a run from 0 and takes none twice. Ours are the training and evaluation records in the order of
metrics.jsonl, each a row with its own `step`, so the number of a row says which record it is: online, a start sends
the rows that the server does not have. Offline, W&B keeps what it gets in memory, and a kill loses it; so a start
writes the whole run again, in place of the files of the start before.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from tfscale.errors import UserError
from tfscale.tracking.base import Kind, Record, RunInfo
from tfscale.tracking.curves import KINDS, curves

STEP = "step"
"""Figure of every row, over which curves are drawn: optimizer steps completed."""


@final
class WandbTracker:
    """Logs settings, curves, results and files.

    Args:
        project: Name; created unless it exists.
        entity: User or team; None for the user's default.
        mode: online or offline.
        timeout: See `Subscriber`; W&B's client takes no longer to start and to end a run, either.
    """

    kinds = KINDS

    def __init__(self, *, project: str, entity: str | None, mode: Literal["online", "offline"], timeout: float) -> None:
        self._project, self._entity, self.timeout = project, entity, timeout
        self._mode: Literal["online", "offline"] = mode
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing is sent to anyone but the server
        import wandb  # noqa: F401 - seconds, which no timeout counts

        self._run: Any = None
        self._rows, self._sent, self._ended_well = 0, 0, False
        self._last: dict[Kind, int] = {}

    def start(self, run: RunInfo) -> None:
        """Creates the run, or continues it.

        Raises:
            UserError: Nobody is logged in.
        """
        import wandb

        if self._mode == "online" and not wandb.login(prompt=False):  # it would wait for someone to type a key
            raise UserError(
                "tracker=wandb must have a login, got none; type: wandb login, or tracker.wandb.mode=offline"
            )
        for lost in run.folder.glob(f"wandb/offline-run-*-{run.id}") if self._mode == "offline" else ():
            shutil.rmtree(lost)
        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            id=run.id,
            name=run.name,
            resume="allow",
            dir=str(run.folder),
            mode=self._mode,
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                symlink=False,  # a run directory may be moved
                init_timeout=self.timeout,
                finish_timeout=self.timeout,
                finish_timeout_raises=True,
            ),
        )
        self._run.config.update({**run.config, "origin": dict(run.tags)}, allow_val_change=True)
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)
        self._sent = self._run.step if self._mode == "online" else 0
        for kind, step, values in run.earlier():
            self.log(kind, step, values)

    def progress(self, step: int) -> None:
        """Does nothing."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Sends a row, unless W&B has it."""
        figures = curves(kind, values)
        if not figures or step <= self._last.get(kind, -1):
            return
        self._last[kind] = step
        if self._rows >= self._sent:
            self._run.log({STEP: step, **figures})
        self._rows += 1

    def message(self, step: int, text: str) -> None:
        """Does nothing: W&B has no place for remarks."""

    def summary(self, results: Mapping[str, Any]) -> None:
        """Sets the results as figures summary/NAME of the run."""
        self._run.summary.update({f"summary/{name}": value for name, value in results.items()})
        self._ended_well = True

    def artifact(self, path: Path) -> None:
        """Adds a file."""
        self._run.save(str(path), base_path=str(path.parent), policy="now")

    def finish(self) -> None:
        """Ends the run; waits until W&B has sent everything."""
        self._run.finish(exit_code=0 if self._ended_well else 1)
