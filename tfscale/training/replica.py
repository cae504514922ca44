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
from tfscale.tasks.base import Task
from tfscale.training import freezing
from tfscale.vectors import Layout

OWN_STEPS = ("train_step", "test_step", "compute_loss")
"""Methods of keras.Model that this loop does not call."""

COMPILED = (
    "the model was compiled, which changes nothing: loss, metrics and optimizer are those of the configuration "
    "(loss=, metrics=, optimizer=)"
)


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

    Attributes:
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
    ) -> None:
        self.rank, self.device = rank, device
        self._task, self._batch = task, batch
        # Gives every replica the same layer names, by which state is saved; collecting garbage takes 0.4 s.
        keras.utils.clear_session(free_memory=False)
        with tf.device(device):
            self.model = model()
            _refuse_other_floats(self.model)
            _refuse_own_steps(self.model)
            freezing.freeze(self.model, frozen)
            self.optimizer = optimizer()
            _refuse_optimizer(self.optimizer)
            self.optimizer.build(self.model.trainable_variables)
        self._variables = {**_model_variables(self.model), **_optimizer_variables(self.optimizer)}
        self._trainable = [variable.value for variable in self.model.trainable_variables]
        self._frozen = freezing.frozen_variables(self.model)
        kept = {id(variable) for variable in self._frozen}
        statistics = [each.value for each in self.model.non_trainable_variables if id(each) not in kept]
        averaged = [variable for variable in statistics if variable.dtype.is_floating]
        self._synchronised = self._trainable + averaged + (self._slots() if with_slots else [])
        self._separate_random_streams()
        self.warnings = [COMPILED] if self.model.compiled else []

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

    def loss(self, batch: Batch, *, training: bool) -> tf.Tensor:
        """Computes (1 / B) sum(weight * loss) plus the model's own regularization, []."""
        x, y, weight = batch
        per_example = self._task.loss(self._task.encode(x, y), self.model(x, training=training))
        return tf.reduce_sum(weight * per_example) / self._batch + sum(self.model.losses)

    def gradients(self, batch: Batch) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the loss, [], and its gradient for each trainable variable; zeros for an unconnected one."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:  # nothing is recorded below a frozen base
            tape.watch(self._trainable)
            loss = self.loss(batch, training=True)
        gradients = tape.gradient(loss, self._trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Performs an optimizer step with a gradient for each trainable variable."""
        self.optimizer.apply(list(gradients), self.model.trainable_variables)

    def parameters(self) -> tf.Tensor:
        """Returns [S]: trainable variables, then float statistics, then optimizer slots if `with_slots`.

        What is frozen is not part of it.
        """
        with tf.device(self.device):
            return vectors.flatten([variable.read_value() for variable in self._synchronised])

    def assign(self, parameters: tf.Tensor) -> None:
        """Assigns [S], in the order of `parameters`."""
        with tf.device(self.device):
            for variable, value in zip(
                self._synchronised, vectors.unflatten(parameters, self._synchronised), strict=True
            ):
                variable.assign(value)

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

    def variables(self) -> Mapping[str, keras.Variable]:
        """State of this replica by its names in a checkpoint: weights, statistics, random streams, optimizer.

        A learning rate is a setting, not state: a resumed run takes its own.
        """
        return self._variables


def _model_variables(model: keras.Model) -> dict[str, keras.Variable]:
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


def _refuse_own_steps(model: keras.Model) -> None:
    own = [name for name in OWN_STEPS if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise UserError(
            f"the model's own {' and '.join(own)} would not be called; leave {'it' if len(own) == 1 else 'them'} out "
            "and set loss, metrics and optimizer in the configuration"
        )


def _refuse_optimizer(optimizer: keras.Optimizer) -> None:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise UserError(
            "optimizer must not be a LossScaleOptimizer: losses are not scaled yet; give the optimizer that it wraps"
        )
    if optimizer.use_ema:
        raise UserError(
            "optimizer.use_ema must be false: averaged weights would be neither evaluated nor saved; leave it out"
        )


def _refuse_other_floats(model: keras.Model) -> None:
    for variable in model.variables:
        kind = keras.backend.standardize_dtype(variable.dtype)
        if keras.backend.is_float_dtype(kind) and kind != "float32":
            raise UserError(
                f"the model's {variable.path} must be float32, got {kind}; leave the dtype of its layer out, or give "
                "mixed_bfloat16 to compute in bfloat16"
            )
    for layer in model._flatten_layers():
        if layer.compute_dtype == "float16":
            raise UserError(
                f"the model's layer {layer.path} must not compute in float16: losses are not scaled yet; give "
                "mixed_bfloat16"
            )
