"""Reaction to a gradient that was not finite, once all processes know of it; no replica has applied it.

`skip` continues. `rollback` restores the newest checkpoint, as values that overflow have often grown for a while, and
continues with the examples after, so that the cause is not repeated. `abort` ends the run, with a checkpoint.

References:
    Chowdhery et al. 2022, PaLM: they restarted from a checkpoint and skipped batches by hand.
"""

from collections.abc import Iterator
from typing import Literal, final

import keras
import tensorflow as tf

from tfscale.errors import RunError, UserError
from tfscale.strategies.base import SKIPPED_STEPS
from tfscale.training.checkpoints import Checkpoints
from tfscale.training.loop import StepInfo
from tfscale.training.state import RunState

Policy = Literal["skip", "rollback", "abort"]

COUNTERS = (SKIPPED_STEPS, "bytes_sent")
"""Measurements that a rollback keeps: what they count has happened."""

MAX_ROLLBACKS = 10
"""Rollbacks to one checkpoint; if there are more, the checkpoint itself must be the cause."""


@final
class NonFinite:
    """Applies a policy after every step, in all processes.

    Args:
        policy: See the module.
        state: What is trained.
        checkpoints: Where `rollback` restores from.
        every: Steps between two checkpoints.

    Raises:
        UserError: The policy needs the number of skipped steps, which the strategy does not measure.
    """

    def __init__(self, policy: Policy, state: RunState, checkpoints: Checkpoints, *, every: int) -> None:
        self._policy, self._state, self._checkpoints, self._every = policy, state, checkpoints, every
        measured = state.strategy.measurements()
        if policy != "skip" and SKIPPED_STEPS not in measured:
            raise UserError(
                f"train.nonfinite={policy} needs a strategy that measures {SKIPPED_STEPS}, as "
                f"{type(state.strategy).__name__} does not; set train.nonfinite=skip"
            )
        self._index = list(measured).index(SKIPPED_STEPS) if SKIPPED_STEPS in measured else 0
        self._known = int(measured[SKIPPED_STEPS]) if SKIPPED_STEPS in measured else 0
        self._returned: tuple[str | None, int] = None, 0

    def has_to_act(self, info: StepInfo) -> bool:
        """Returns whether the policy requires an action after this step; waits for the step, unless it is `skip`."""
        if self._policy == "skip":
            return False
        before, self._known = self._known, int(info.measurements[self._index])
        return self._known > before

    def act(self, info: StepInfo) -> str | RunError:
        """Acts; returns a description of the action, or the error that ends the run."""
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
        if self._returned[1] > MAX_ROLLBACKS:
            return RunError(
                f"a gradient was not finite {MAX_ROLLBACKS + 1} times after {name}, and train.nonfinite=rollback; "
                "lower optimizer.learning_rate"
            )
        return f"a gradient was not finite; back to {name}, and on with the examples after"

    def _counters(self) -> Iterator[tf.Variable | keras.Variable]:
        """Variables that a rollback keeps: counts, and the optimizers' steps, as schedules end with the run."""
        strategy, replicas = self._state.strategy, self._state.replicas
        states = [strategy.shared_state(), *(strategy.replica_state(index) for index in range(len(replicas)))]
        for state in states:
            yield from (state[name] for name in COUNTERS if name in state)
        yield from (replica.optimizer.iterations for replica in replicas)
