"""Phases of a rank: the vocabulary that the training loop, the heartbeat and the watchdog share.

The values are written to heartbeat files, where 16 bytes hold one, and are read from run directories of earlier
versions: do not change them.
"""

from enum import Enum


class Phase(Enum):
    """Activity of a rank, as its heartbeat reports it."""

    STARTING = "starting"
    DATA = "waiting for data"
    STEP = "a step"
    AVERAGING = "averaging"
    LOGGING = "logging"
    SAVING = "saving"
    EVALUATING = "evaluating"
    EVALUATION_BATCH = "a test batch"
    DISK = "the disk"
    CLOSING = "closing"

    @property
    def waits_for_others(self) -> bool:
        """Whether a rank in this phase may be waiting for another rank."""
        return self not in (Phase.STARTING, Phase.DATA, Phase.DISK)

    @property
    def always_has_minutes(self) -> bool:
        """Whether every run of this phase has minutes, however short the earlier ones were."""
        return self is Phase.DISK
