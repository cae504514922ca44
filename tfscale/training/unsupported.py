"""Parts of a model or an optimizer that this training loop does not use: refused or warned of, by name.

Keras's own `fit` calls them; to leave them out without a word would train another model than the user wrote.
"""

import keras

from tfscale.errors import UserError
from tfscale.training.precision import Precision

OWN_STEPS = ("train_step", "test_step", "compute_loss")
"""Methods of keras.Model that this loop does not call."""

COMPILED = (
    "the model was compiled, which changes nothing: loss, metrics and optimizer are those of the configuration "
    "(loss=, metrics=, optimizer=)"
)


def refuse_model(model: keras.Model, precision: Precision) -> None:
    """Refuses a model that needs what this loop does not do.

    Raises:
        UserError: A floating variable is not float32, as vectors are; a layer computes in float16 without loss scaling;
            or the model has a training step of its own.
    """
    _refuse_other_floats(model, precision)
    _refuse_own_steps(model)


def warnings_of(model: keras.Model) -> list[str]:
    """Returns warnings about parts that change nothing, one line each."""
    return [COMPILED] if model.compiled else []


def _refuse_own_steps(model: keras.Model) -> None:
    own = [name for name in OWN_STEPS if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise UserError(
            f"the model's own {' and '.join(own)} would not be called; leave {'it' if len(own) == 1 else 'them'} out "
            "and set loss, metrics and optimizer in the configuration"
        )


def refuse_optimizer(optimizer: keras.Optimizer) -> None:
    """Refuses an optimizer that needs what this loop does not do.

    Raises:
        UserError: It scales losses or averages weights itself.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise UserError(
            "optimizer must not be a LossScaleOptimizer: replicas would have different scales; give the optimizer that "
            "it wraps, and train.precision=float16"
        )
    if optimizer.use_ema:
        raise UserError(
            "optimizer.use_ema must be false: its average would be neither evaluated nor saved; type "
            "train.ema=0.999 instead"
        )


def _refuse_other_floats(model: keras.Model, precision: Precision) -> None:
    for variable in model.variables:
        kind = keras.backend.standardize_dtype(variable.dtype)
        if keras.backend.is_float_dtype(kind) and kind != "float32":
            raise UserError(
                f"the model's {variable.path} must be float32, got {kind}; leave the dtype of its layer out, or give "
                "mixed_bfloat16 to compute in bfloat16"
            )
    for layer in model._flatten_layers():
        if layer.compute_dtype == "float16" and precision != "float16":
            raise UserError(
                f"the model's layer {layer.path} must not compute in float16 without loss scaling; type "
                "train.precision=float16, or give mixed_bfloat16"
            )
