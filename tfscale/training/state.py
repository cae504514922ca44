"""RunState: everything of a run that a checkpoint preserves.

It consists of the replicas, the strategy's state, early stopping and the number of completed steps. That number is also
the position in the data, since batches are computed from (seed, step); random streams are variables of the replicas.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfscale.checkpoint.tensor_file import Arrays
from tfscale.digest import choose as choose_digest
from tfscale.errors import UserError
from tfscale.strategies.base import Strategy
from tfscale.training.early_stopping import EarlyStopping
from tfscale.training.plateau import Plateau
from tfscale.training.precision import LossScale
from tfscale.training.replica import AVERAGE, Replica

Variables = Mapping[str, tf.Variable | keras.Variable]
Values = Mapping[str, tf.Tensor | np.ndarray]
"""Variables and values by their names in a checkpoint."""

STOPPING = "early_stopping/"
"""Prefix of the names of early stopping's state in a checkpoint."""

SCHEDULE = "schedule/"
"""Prefix of the names of the plateau schedule's state in a checkpoint."""

SCALE = "loss_scale/"
"""Prefix of the names of the loss scale's state in a checkpoint."""


@dataclass(frozen=True)
class ReplicaView:
    """State of a replica after a step: views, not copies; valid until the next step.

    Attributes:
        own: Values that only this replica holds.
        common: Values that are equal in all replicas.
        digest: Digest of `common`: equal in all replicas if `common` is.
        shared: Values that belong to no replica: those of the strategy, loss scale, early stopping and schedule.
    """

    own: Values
    common: Values
    digest: int
    shared: Values


@dataclass(kw_only=True)
class RunState:
    """State that training changes.

    Attributes:
        step: Optimizer steps completed.
        replicas: This process's replicas, by rank.
        strategy: Owns residuals, thresholds and counters.
        early_stopping: Holds the best evaluation.
        loss_scale: Of all replicas, with float16; None for no scale.
        plateau: The schedule that follows the evaluations; None for any other.
    """

    step: int
    replicas: Sequence[Replica]
    strategy: Strategy
    early_stopping: EarlyStopping
    loss_scale: LossScale | None = None
    plateau: Plateau | None = None
    _reads: dict[int, Callable[[], tuple[Any, ...]]] = field(default_factory=dict, init=False, repr=False)

    def view(self, index: int) -> ReplicaView:
        """State of this process's replica `index`; one compiled call reads it in a tenth of the time of many."""
        if index not in self._reads:
            self._reads[index] = tf.function(lambda: self._read(index), autograph=False).get_concrete_function()
        own, common, digest, shared = self._reads[index]()
        return ReplicaView(own, common, int(digest), {**shared, **self._evaluation_arrays()})

    def _read(self, index: int) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], tf.Tensor, dict[str, tf.Tensor]]:
        own = _tensors(self._replica_variables(index))
        common = {name: own.pop(name) for name in self.common_names()}
        digest = choose_digest([self.replicas[index].device])([_as_floats(each) for each in common.values()])
        return own, common, digest, _tensors(self._shared_variables())

    def replica_arrays(self, index: int) -> Arrays:
        """Copies all state of this process's replica `index`, by name."""
        return _copied(self._replica_variables(index))

    def consensus_arrays(self) -> Arrays:
        """Copies the consensus, by name, but for what is in `common_names` as well. All processes must call it."""
        replica, without = self.replicas[0], set(self.common_names())
        if replica.average is not None:  # the consensus is of averaged weights
            without -= {f"model/{each.path}" for each in replica.model.trainable_variables}
        return replica.model_arrays(self.consensus, without=without)

    def common_names(self) -> Sequence[str]:
        """Names of the state that is equal in all replicas after every step."""
        strategy, replica = self.strategy, self.replicas[0]
        names = [f"model/{each.path}" for each in replica.model.trainable_variables]
        averages = [name for name in replica.variables() if name.startswith(AVERAGE)]
        slots = [name for name in replica.variables() if name.startswith("optimizer/")]
        equal = [*names, *averages] * strategy.keeps_parameters_equal + slots * strategy.keeps_optimizers_equal
        return [*equal, *replica.frozen_names]

    def shared_arrays(self) -> Arrays:
        """Copies the state that belongs to no replica: of strategy, loss scale, early stopping and schedule."""
        return {**_copied(self._shared_variables()), **self._evaluation_arrays()}

    def load_replica(self, index: int, arrays: Arrays) -> None:
        """Restores what `replica_arrays` returned.

        Raises:
            UserError: The names or shapes are those of another model, optimizer or strategy.
        """
        _load(self._replica_variables(index), arrays)

    def load_shared(self, arrays: Arrays) -> None:
        """Restores what `shared_arrays` returned; raises like `load_replica`."""
        followers = self._followers()
        _load(
            self._shared_variables(),
            {name: value for name, value in arrays.items() if not name.startswith(tuple(followers))},
        )
        for prefix, follower in followers.items():
            own = {name: each for name, each in arrays.items() if name.startswith(prefix)}
            _require_names({f"{prefix}{name}" for name in follower.arrays()}, own)
            follower.load({name.removeprefix(prefix): each for name, each in own.items()})

    def consensus(self) -> tf.Tensor:
        """Returns the one model that the replicas stand for, [S]. All processes must call it."""
        vectors = [replica.averaged_parameters() for replica in self.replicas]
        return self.strategy.consensus(vectors, averaged=self.replicas[0].average is not None)

    def _shared_variables(self) -> Variables:
        scale = {} if self.loss_scale is None else self.loss_scale.state()
        return {**self.strategy.shared_state(), **{f"{SCALE}{name}": each for name, each in scale.items()}}

    def _followers(self) -> dict[str, EarlyStopping | Plateau]:
        """Returns what follows the evaluations, by the prefixes of its names in a checkpoint."""
        return {STOPPING: self.early_stopping, **({} if self.plateau is None else {SCHEDULE: self.plateau})}

    def _evaluation_arrays(self) -> Arrays:
        return {
            f"{prefix}{name}": value
            for prefix, follower in self._followers().items()
            for name, value in follower.arrays().items()
        }

    def _replica_variables(self, index: int) -> dict[str, tf.Variable | keras.Variable]:
        own = {f"strategy/{name}": each for name, each in self.strategy.replica_state(index).items()}
        return {**self.replicas[index].variables(), **own}


def _copied(variables: Variables) -> dict[str, np.ndarray]:
    """Copies the values of variables, by name."""
    return {name: np.array(each) for name, each in _tensors(variables).items()}


def _tensors(variables: Variables) -> dict[str, tf.Tensor]:
    return {name: tf.convert_to_tensor(each) for name, each in variables.items()}


def _as_floats(value: tf.Tensor) -> tf.Tensor:
    """Bitcasts to float32; casts types of less than 32 bits, which preserves their values."""
    if value.dtype == tf.float32:
        return value
    return tf.bitcast(value, tf.float32) if value.dtype.size % 4 == 0 else tf.cast(value, tf.float32)


KEYS = {AVERAGE: "train.ema", SCALE: "train.precision", SCHEDULE: "the schedule"}
"""Prefix of a name in a checkpoint -> the key that decides whether it is there."""


def _require_names(own: Collection[str], arrays: Collection[str]) -> None:
    """Raises UserError if the names in a run and in a checkpoint differ."""
    for name in sorted({*own} ^ {*arrays}):
        where = "checkpoint" if name in arrays else "run"
        keys = [key for prefix, key in KEYS.items() if name.startswith(prefix)]
        what = f"{keys[0]} must be as in" if keys else "model, optimizer and strategy must be those of"
        raise UserError(f"only the {where} has {name}: {what} the checkpoint; leave the change out")


def _load(variables: Variables, arrays: Arrays) -> None:
    _require_names(variables.keys(), arrays.keys())
    for name in sorted(variables):
        if not tf.TensorShape(variables[name].shape).is_compatible_with(arrays[name].shape):
            raise UserError(
                f"{name} has shape {tuple(variables[name].shape)} in the run and {arrays[name].shape} in the "
                "checkpoint: the model must be that of the checkpoint"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def digest(replica: Replica) -> str:
    """Returns `weights_digest` of a replica's model; random streams differ between replicas."""
    return weights_digest(replica.model)


def weights_digest(model: keras.Model) -> str:
    """Returns the sha256 of a model's weights and statistics, in order."""
    total = hashlib.sha256()
    for variable in model.weights:
        total.update(np.ascontiguousarray(np.asarray(variable.value)).tobytes())
    return total.hexdigest()
