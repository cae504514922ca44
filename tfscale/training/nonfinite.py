"""What is done after a step whose gradient was not finite: no replica has applied it, and all know.

`skip` goes on. `rollback` puts back the newest checkpoint, as numbers that overflow have often grown for a while, and
goes on with the examples after, so that what led there is not repeated (Chowdhery et al. 2022, PaLM, did so by hand).
`abort` ends the run, with a checkpoint.
"""

from typing import Literal, final

from tfscale.errors import RunError
from tfscale.training.checkpoint import Checkpoints
from tfscale.training.loop import StepInfo
from tfscale.training.state import RunState

Policy = Literal["skip", "rollback", "abort"]
COUNT = "skipped_steps"
"""What a strategy measures if it skips steps: the same number in all processes."""

COUNTERS = (COUNT, "bytes_sent")
"""What a strategy shares that has happened all the same when a checkpoint is put back."""

MOST = 10
"""Times that one checkpoint is put back: then it must be what leads there."""


@final
class NonFinite:
    """Asked after every step, in all processes.

    Args:
        policy: What to do.
        state: What is trained.
        checkpoints: What it goes back to.
    """

    def __init__(self, policy: Policy, state: RunState, checkpoints: Checkpoints) -> None:
        self._policy, self._state, self._checkpoints = policy, state, checkpoints
        names = list(state.strategy.measurements())
        self._place = names.index(COUNT) if COUNT in names else None
        self._known = 0 if self._place is None else int(state.strategy.measurements()[COUNT])
        self._returned: tuple[str | None, int] = None, 0

    def __call__(self, info: StepInfo) -> str | RunError | None:
        """Returns what was done, in words, or what the run is to end with; None if there was nothing to do."""
        if self._policy == "skip" or self._place is None:
            return None
        count = int(info.measurements[self._place])
        if count <= self._known:
            return None
        self._known = count
        if self._policy == "abort":
            return RunError(
                f"a gradient was not finite by step {info.step:,}, and train.nonfinite=abort; lower "
                "optimizer.learning_rate, or set train.nonfinite=skip"
            )
        return self._roll_back()

    def _roll_back(self) -> str | RunError:
        shared = self._state.strategy.shared_state()
        happened = {name: shared[name].numpy() for name in COUNTERS if name in shared}
        name = self._checkpoints.put_back(self._state)
        if name is None:
            return "a gradient was not finite; there is no checkpoint to go back to, the step was skipped"
        for counter, value in happened.items():
            shared[counter].assign(value)
        before, times = self._returned
        self._returned = name, times + 1 if name == before else 1
        if self._returned[1] > MOST:
            return RunError(
                f"a gradient was not finite {MOST + 1} times after {name}, and train.nonfinite=rollback; lower "
                "optimizer.learning_rate"
            )
        return f"a gradient was not finite; back to {name}, and on with the examples after"
