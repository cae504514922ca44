"""RunState: the one object with everything of a run that must survive.

A run is its replicas, what its strategy keeps, and how many steps are done. The position in the data is that number of
steps, since batches are computed from (seed, step); random streams are variables of the replicas.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfscale.digest import choose as choose_digest
from tfscale.early_stopping import EarlyStopping
from tfscale.errors import UserError
from tfscale.strategies.base import Strategy
from tfscale.training.replica import Replica
from tfscale.training.tensor_file import Arrays

Variables = Mapping[str, tf.Variable | keras.Variable]
"""By their names in a checkpoint."""

STOPPING = "early_stopping/"
"""What the names of its state begin with, in a checkpoint."""


@dataclass(kw_only=True)
class RunState:
    """What training changes.

    Attributes:
        step: Optimizer steps completed.
        replicas: This process's replicas, by rank.
        strategy: Owns residuals, thresholds and counters.
        early_stopping: Remembers the best evaluation.
    """

    step: int
    replicas: Sequence[Replica]
    strategy: Strategy
    early_stopping: EarlyStopping

    def replica_variables(self, index: int) -> tuple[Variables, Variables]:
        """What this process's replica number `index` alone holds, and what it and all others hold alike."""
        own = self._replica_variables(index)
        common = {name: own.pop(name) for name in self.common_names()}
        return own, common

    def replica_arrays(self, index: int) -> Arrays:
        """A copy of all that this process's replica number `index` holds, by name."""
        return _copied(self._replica_variables(index))

    def consensus_arrays(self) -> Arrays:
        """A copy of what the consensus has besides `common_names`, by name. All processes must call it."""
        return self.replicas[0].model_arrays(self.consensus, without=frozenset(self.common_names()))

    def common_names(self) -> Sequence[str]:
        """Names of a replica's state that is the same in all replicas after every step."""
        strategy, replica = self.strategy, self.replicas[0]
        names = [f"model/{each.path}" for each in replica.model.trainable_variables]
        slots = [name for name in replica.variables() if name.startswith("optimizer/")]
        return names * strategy.keeps_parameters_equal + slots * strategy.keeps_optimizers_equal

    def shared_arrays(self) -> Arrays:
        """A copy of what is not any replica's: the strategy's, and what early stopping remembers."""
        stopping = {f"{STOPPING}{name}": value for name, value in self.early_stopping.arrays().items()}
        return {**_copied(self.strategy.shared_state()), **stopping}

    def load_replica(self, index: int, arrays: Arrays) -> None:
        """Puts back what `replica_arrays` returned.

        Raises:
            UserError: The names or shapes are those of another model, optimizer or strategy.
        """
        _load(self._replica_variables(index), arrays)

    def load_shared(self, arrays: Arrays) -> None:
        """Puts back what `shared_arrays` returned; raises as `load_replica` does."""
        _load(
            self.strategy.shared_state(),
            {name: value for name, value in arrays.items() if not name.startswith(STOPPING)},
        )
        self.early_stopping.load(
            {name.removeprefix(STOPPING): value for name, value in arrays.items() if name.startswith(STOPPING)}
        )

    def consensus(self) -> tf.Tensor:
        """[S]: the one model that the replicas stand for. All processes must call it."""
        return self.strategy.consensus([replica.parameters() for replica in self.replicas])

    def _replica_variables(self, index: int) -> dict[str, tf.Variable | keras.Variable]:
        own = {f"strategy/{name}": each for name, each in self.strategy.replica_state(index).items()}
        return {**self.replicas[index].variables(), **own}


def _copied(variables: Variables) -> dict[str, np.ndarray]:
    """A copy of their values, by name."""
    return {name: np.array(tf.convert_to_tensor(variable)) for name, variable in variables.items()}


def common_digest(common: Variables, device: str) -> int:
    """Tells whether a replica on the device holds alike what all should."""
    return int(choose_digest([device])([_as_floats(each) for each in common.values()]))


def _as_floats(variable: tf.Variable | keras.Variable) -> tf.Tensor:
    """The same bits as float32, or, where those are fewer, the same numbers."""
    value = tf.convert_to_tensor(variable)
    if value.dtype == tf.float32:
        return value
    return tf.bitcast(value, tf.float32) if value.dtype.size % 4 == 0 else tf.cast(value, tf.float32)


def _load(variables: Variables, arrays: Arrays) -> None:
    for name in sorted(variables.keys() | arrays.keys()):
        if name not in variables or name not in arrays:
            where = "checkpoint" if name in arrays else "run"
            raise UserError(
                f"only the {where} has {name}: model, optimizer and strategy must be those of the checkpoint"
            )
        if not tf.TensorShape(variables[name].shape).is_compatible_with(arrays[name].shape):
            raise UserError(
                f"{name} has shape {tuple(variables[name].shape)} in the run and {arrays[name].shape} in the "
                "checkpoint: the model must be that of the checkpoint"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def digest(replica: Replica) -> str:
    """sha256 over the model's weights and statistics, in order; random streams are each replica's own."""
    total = hashlib.sha256()
    for variable in replica.model.weights:
        total.update(np.ascontiguousarray(np.asarray(variable.value)).tobytes())
    return total.hexdigest()
