"""What is done once all know of a gradient that was not finite, and that no replica has applied.

`skip` goes on. `rollback` puts back the newest checkpoint, as numbers that overflow have often grown for a while, and
goes on with the examples after, so that what led there is not repeated (Chowdhery et al. 2022, PaLM, did so by hand).
`abort` ends the run, with a checkpoint.
"""

from collections.abc import Iterator
from typing import Literal, final

import keras
import tensorflow as tf

from tfscale.errors import RunError, UserError
from tfscale.training.checkpoints import Checkpoints
from tfscale.training.loop import StepInfo
from tfscale.training.state import RunState

Policy = Literal["skip", "rollback", "abort"]
COUNT = "skipped_steps"
"""What a strategy measures if it skips steps: the same number in all processes."""

COUNTERS = (COUNT, "bytes_sent")
"""What a strategy counts that has happened all the same when a checkpoint is put back."""

MOST = 10
"""Times that one checkpoint is put back: then it must be what leads there."""


@final
class NonFinite:
    """Asked after every step, in all processes.

    Args:
        policy: What to do.
        state: What is trained.
        checkpoints: What it goes back to.
        every: Steps between two checkpoints.

    Raises:
        UserError: The strategy does not say which steps it skips.
    """

    def __init__(self, policy: Policy, state: RunState, checkpoints: Checkpoints, *, every: int) -> None:
        self._policy, self._state, self._checkpoints, self._every = policy, state, checkpoints, every
        measured = state.strategy.measurements()
        if policy != "skip" and COUNT not in measured:
            raise UserError(
                f"train.nonfinite={policy} needs a strategy that measures {COUNT}, as {type(state.strategy).__name__} "
                "does not; set train.nonfinite=skip"
            )
        self._place = list(measured).index(COUNT) if COUNT in measured else 0
        self._known = int(measured[COUNT]) if COUNT in measured else 0
        self._returned: tuple[str | None, int] = None, 0

    def has_to_act(self, info: StepInfo) -> bool:
        """Whether something is to be done after this step, which is then waited for."""
        if self._policy == "skip":
            return False
        before, self._known = self._known, int(info.measurements[self._place])
        return self._known > before

    def act(self, info: StepInfo) -> str | RunError:
        """Does it; returns what was done, in words, or what the run is to end with."""
        if self._policy == "abort":
            return RunError(
                f"a gradient was not finite by step {info.step:,}, and train.nonfinite=abort; lower "
                "optimizer.learning_rate, or set train.nonfinite=skip"
            )
        return self._roll_back()

    def _roll_back(self) -> str | RunError:
        happened = [(variable, tf.convert_to_tensor(variable)) for variable in self._counters()]
        name = self._checkpoints.rollback(self._state, every=self._every)
        if name is None:
            return "a gradient was not finite; there is no checkpoint to go back to, the step was skipped"
        for variable, value in happened:
            variable.assign(value)
        before, times = self._returned
        self._returned = name, times + 1 if name == before else 1
        if self._returned[1] > MOST:
            return RunError(
                f"a gradient was not finite {MOST + 1} times after {name}, and train.nonfinite=rollback; lower "
                "optimizer.learning_rate"
            )
        return f"a gradient was not finite; back to {name}, and on with the examples after"

    def _counters(self) -> Iterator[tf.Variable | keras.Variable]:
        """What must not go back: counts, and the optimizers' steps, as schedules are to end with the run."""
        strategy, replicas = self._state.strategy, self._state.replicas
        states = [strategy.shared_state(), *(strategy.replica_state(index) for index in range(len(replicas)))]
        for state in states:
            yield from (state[name] for name in COUNTERS if name in state)
        yield from (replica.optimizer.iterations for replica in replicas)
