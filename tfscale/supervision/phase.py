"""Phases of a rank: the vocabulary that the training loop, the heartbeat and the watchdog share.

The values are written to heartbeat files, where 16 bytes hold one, and are read from run directories of earlier
versions: do not change them.
"""

from enum import Enum

WAITS_WITH_MINUTES = 10
"""First waits for data of each start that have minutes: files are opened, buffers filled, caches written."""


class Phase(Enum):
    """Activity of a rank, as its heartbeat reports it."""

    STARTING = "starting"
    DATA = "waiting for data"
    COMPILING = "compiling"
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
        """Returns whether a rank in this phase may be waiting for another rank."""
        return self not in (Phase.STARTING, Phase.DATA, Phase.DISK)

    @property
    def runs_with_minutes(self) -> int:
        """First runs of this phase in a process that have minutes: they compile, or open files."""
        return WAITS_WITH_MINUTES if self is Phase.DATA else 1

    @property
    def has_minutes_after_hang(self) -> bool:
        """Returns whether this phase has minutes after a hang: its time depends on the user's data."""
        return self is Phase.DATA

    @property
    def always_has_minutes(self) -> bool:
        """Returns whether every run of this phase has minutes, however short the earlier ones were."""
        return self in (Phase.STARTING, Phase.DISK, Phase.COMPILING, Phase.CLOSING)
