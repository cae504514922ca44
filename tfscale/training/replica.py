"""One logical replica: a model, its optimizer and its loss on one device.

Only tensors pass between replica and strategy. The result of a run depends on its replicas, never on the processes that
hold them, so all random state belongs to the replica.
"""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale import vectors
from tfscale.data.base import Batch
from tfscale.errors import UserError
from tfscale.specs import Nested
from tfscale.tasks.base import Task
from tfscale.training import freezing, unsupported
from tfscale.training.accumulation import Gradients, accumulate
from tfscale.training.computation import DEFAULT, Computation
from tfscale.training.precision import dtype_policy, in_float32
from tfscale.training.weight_average import WeightAverage
from tfscale.vectors import Layout

AVERAGE = "average/"
"""Prefix of the names of averaged weights in a checkpoint."""


@final
class Replica:
    """A model that trains on one device.

    Args:
        rank: Global index.
        device: TensorFlow device name.
        model: Constructor of the model; called once, on the device.
        optimizer: Constructor of the optimizer; called once, on the device.
        task: Gives targets and losses.
        batch: B, which every batch's weighted loss is divided by.
        with_slots: Whether optimizer slots are part of `parameters`.
        frozen: Names of layers and variables that do not train (see `freezing`).
        computation: Precision, parts of a batch, compilation, and average of the weights.

    Attributes:
        average: The average of the weights; None without `computation.ema`.
        warnings: Warnings about the model, one line each.

    Raises:
        UserError: A floating variable of the model is not float32, as vectors are; two variables of the model have one
            name; or the model or the optimizer needs something that this loop does not do.
    """

    def __init__(
        self,
        *,
        rank: int,
        device: str,
        model: Callable[[], keras.Model],
        optimizer: Callable[[], keras.Optimizer],
        task: Task,
        batch: int,
        with_slots: bool,
        frozen: Sequence[str] = (),
        computation: Computation = DEFAULT,
    ) -> None:
        self.rank, self.device = rank, device
        self._task, self._batch, self._computation = task, batch, computation
        # Gives every replica the same layer names, by which state is saved; collecting garbage takes 0.4 s.
        keras.utils.clear_session(free_memory=False)
        with tf.device(device):
            with dtype_policy(computation.precision):
                self.model = model()
            unsupported.refuse_model(self.model, computation.precision)
            freezing.freeze(self.model, frozen)
            self.optimizer = optimizer()
            unsupported.refuse_optimizer(self.optimizer)
            self.optimizer.build(self.model.trainable_variables)
            self.average = (
                None if computation.ema is None else WeightAverage(self.model.trainable_variables, computation.ema)
            )
        averages = {} if self.average is None else self.average.state()
        self._variables = {
            **model_variables(self.model),
            **_optimizer_variables(self.optimizer),
            **{f"{AVERAGE}{path}": each for path, each in averages.items()},
        }
        compiled = tf.function(self._gradients, autograph=False, jit_compile=True)
        self._compute = compiled if computation.jit_compile else self._gradients
        self._trainable = [variable.value for variable in self.model.trainable_variables]
        self._frozen = freezing.frozen_variables(self.model)
        kept = {id(variable) for variable in self._frozen}
        statistics = [each.value for each in self.model.non_trainable_variables if id(each) not in kept]
        averaged = [variable for variable in statistics if variable.dtype.is_floating]
        self._synchronised = self._trainable + averaged + (self._slots() if with_slots else [])
        self._separate_random_streams()
        self.warnings = unsupported.warnings_of(self.model)

    def _slots(self) -> list[tf.Variable]:
        """Variables of the optimizer, such as momentum, but for the step counter and the learning rate."""
        ours = (self.optimizer.iterations, self.optimizer.learning_rate)
        return [variable.value for variable in self.optimizer.variables if not any(variable is each for each in ours)]

    def _separate_random_streams(self) -> None:
        """Offsets the seed generators by the rank: replicas start equal but draw different dropout masks."""
        for variable in self.model.variables:
            if variable.path.endswith("seed_generator_state"):
                state = variable.value.read_value()
                variable.assign(tf.stack([state[0] + tf.cast(self.rank * 1_000_003, state.dtype), state[1]]))

    @property
    def layout(self) -> Layout:
        """Positions of the trainable tensors in the vector [D]."""
        return Layout(
            names=tuple(variable.path for variable in self.model.trainable_variables),
            sizes=tuple(vectors.size([variable]) for variable in self._trainable),
        )

    @property
    def compiles_each_size(self) -> bool:
        """Returns whether the first batch of each size takes long, as it is compiled."""
        return self._computation.jit_compile

    @property
    def frozen_names(self) -> Sequence[str]:
        """Names, as in `variables`, of what keeps its value: equal in all replicas."""
        return [f"model/{variable.path}" for variable in self._frozen]

    @property
    def frozen_size(self) -> int:
        """Number of scalars that keep their values."""
        return vectors.size([variable.value for variable in self._frozen])

    def trainable_tensors(self) -> list[tf.Tensor]:
        """Values of the trainable variables: views, not copies; valid until the next step."""
        with tf.device(self.device):
            return [variable.read_value() for variable in self._trainable]

    def outputs(self, x: Nested[tf.Tensor], *, training: bool) -> Nested[tf.Tensor]:
        """Calls the model; outputs are float32 at every precision."""
        return tf.nest.map_structure(in_float32, self.model(x, training=training))

    def loss(self, batch: Batch, *, training: bool, share: tf.Tensor | None = None) -> tf.Tensor:
        """Computes (1 / B) sum(weight * loss) plus the model's own regularization, [].

        Args:
            batch: Examples.
            training: Whether layers act as in training.
            share: [], the part of the regularization that belongs to these examples; None for all of it.
        """
        x, y, weight = batch
        per_example = self._task.loss(self._task.encode(x, y), self.outputs(x, training=training))
        own = sum(in_float32(each) for each in self.model.losses)
        return tf.reduce_sum(weight * per_example) / self._batch + (own if share is None else share * own)

    def gradients(self, batch: Batch, scale: tf.Tensor | None = None) -> Gradients:
        """Returns the loss, [], and its gradient for each trainable variable; zeros for an unconnected one.

        Args:
            batch: Examples.
            scale: [] float32, multiplies the loss in between (see `precision`); None for no scale.
        """
        if self._computation.accumulate == 1:
            return self._compute(batch, scale)
        size = -(-self._batch // self._computation.accumulate)
        return accumulate(lambda part, share: self._compute(part, scale, share), batch, size, self._trainable)

    def _gradients(self, batch: Batch, scale: tf.Tensor | None, share: tf.Tensor | None = None) -> Gradients:
        with tf.GradientTape(watch_accessed_variables=False) as tape:  # nothing is recorded below a frozen base
            tape.watch(self._trainable)
            loss = self.loss(batch, training=True, share=share)
            target = loss if scale is None else scale * loss
        gradients = tape.gradient(target, self._trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return loss, dense if scale is None else [each / scale for each in dense]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Performs an optimizer step with a gradient for each trainable variable."""
        self.optimizer.apply(list(gradients), self.model.trainable_variables)

    def parameters(self) -> tf.Tensor:
        """Returns [S]: trainable variables, then float statistics, then optimizer slots if `with_slots`.

        What is frozen is not part of it.
        """
        with tf.device(self.device):
            return vectors.flatten([variable.read_value() for variable in self._synchronised])

    def averaged_parameters(self) -> tf.Tensor:
        """Returns [S] with the average of the weights in their place, if there is one: what is evaluated."""
        if self.average is None:
            return self.parameters()
        with tf.device(self.device):
            others = self._synchronised[len(self._trainable) :]
            return vectors.flatten([each.read_value() for each in [*self.average.values, *others]])

    def assign(self, parameters: tf.Tensor) -> None:
        """Assigns [S], in the order of `parameters`, or its first part [D], the trainable variables alone."""
        only_trainable = vectors.size([tf.convert_to_tensor(parameters)]) < vectors.size(self._synchronised)
        variables = self._trainable if only_trainable else self._synchronised
        with tf.device(self.device):
            for variable, value in zip(variables, vectors.unflatten(parameters, variables), strict=True):
                variable.assign(value)

    def learning_rate(self) -> tf.Tensor:
        """Returns the optimizer's learning rate of the next step, [] float32."""
        return tf.convert_to_tensor(self.optimizer.learning_rate, tf.float32)

    def model_arrays(self, parameters: Callable[[], tf.Tensor], *, without: Container[str]) -> dict[str, np.ndarray]:
        """Returns weights, statistics and random streams by name, as they would be after `assign` of [S].

        Args:
            parameters: Returns [S]; not called if no result depends on it.
            without: Names to leave out.
        """
        named = {f"model/{variable.path}": variable.value for variable in self.model.variables}
        wanted = {name: variable for name, variable in named.items() if name not in without}
        values = {id(variable): tf.convert_to_tensor(variable) for variable in wanted.values()}
        if values.keys() & {id(variable) for variable in self._synchronised}:
            assigned = vectors.unflatten(parameters(), self._synchronised)
            values |= {id(variable): value for variable, value in zip(self._synchronised, assigned, strict=True)}
        return {name: np.asarray(values[id(variable)].numpy()) for name, variable in wanted.items()}

    def variables(self) -> Mapping[str, tf.Variable | keras.Variable]:
        """State of this replica by its names in a checkpoint: weights, statistics, random streams, optimizer, average.

        A learning rate is a setting, not state: a resumed run takes its own.
        """
        return self._variables


def model_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns a model's variables by their names in a checkpoint.

    Raises:
        UserError: Two have one name.
    """
    counts = Counter(variable.path for variable in model.variables)
    duplicate = next((path for path, count in counts.items() if count > 1), None)
    if duplicate is not None:  # a checkpoint is by name and could hold only one of them
        raise UserError(
            f"the model's variables must have different names, got {duplicate} for {counts[duplicate]}; give the "
            "layers different names"
        )
    return {f"model/{variable.path}": variable for variable in model.variables}


def _optimizer_variables(optimizer: keras.Optimizer) -> dict[str, keras.Variable]:
    """Variables by name; equal paths, as of Adafactor's slots, are numbered in the optimizer's order."""
    variables = [each for each in optimizer.variables if each is not optimizer.learning_rate]
    counts, numbers = Counter(each.path for each in variables), Counter[str]()
    named = {}
    for each in variables:
        suffix = f"/{numbers[each.path]}" if counts[each.path] > 1 else ""
        numbers[each.path] += 1
        named[f"optimizer/{each.path}{suffix}"] = each
    return named
