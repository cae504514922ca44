"""Freezes parts of a model by name: what is frozen is neither trained nor exchanged, and has no optimizer slots.

A layer that is frozen as a whole is one with `trainable = False`, as Keras's guide to transfer learning has it. Its
batch normalization then runs in inference mode, so its statistics stay too.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import keras

from tfscale.config.suggest import closest
from tfscale.errors import UserError

SHOWN = 8
"""Names that a message lists."""


def freeze(model: keras.Model, patterns: Sequence[str]) -> None:
    """Freezes the layers and variables that patterns name. The model must be built, its optimizer not yet.

    Args:
        model: Is changed.
        patterns: Names of layers or paths of variables, with * ? [] as in a shell. All variables of a layer together
            are the layer.

    Raises:
        UserError: A pattern matches nothing that could train, or nothing is left to train.
    """
    layers = [layer for layer in model._flatten_layers() if layer is not model]
    for pattern in patterns:
        named = [layer for layer in layers if fnmatchcase(layer.name, pattern)]
        variables = [variable for variable in model.weights if fnmatchcase(variable.path, pattern)]
        if not named and not variables:
            raise UserError(_no_match(pattern, [layer.name for layer in layers], [each.path for each in model.weights]))
        for layer in named:
            layer.trainable = False
        _freeze_variables(layers, variables, pattern)
    if not model.trainable_variables:
        advice = f"got {list(patterns)}; name fewer layers" if patterns else "but the model has none; add a layer"
        raise UserError(f"model.freeze must leave a variable to train, {advice}")


def frozen_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables that keep their values: of frozen layers, and single frozen weights.

    The model may have been frozen by `freeze` or by its own function. Statistics of layers that are not frozen do not
    train either, but change.
    """
    frozen: dict[int, keras.Variable] = {}
    for layer in model._flatten_layers():
        weights = layer._trainable_variables
        still = [*weights, *layer._non_trainable_variables] if not layer.trainable else weights
        frozen |= {id(each): each for each in still if not (each.trainable and layer.trainable)}
    return [variable for variable in model.weights if id(variable) in frozen]


def _freeze_variables(layers: Sequence[keras.Layer], variables: Sequence[keras.Variable], pattern: str) -> None:
    matched = {id(variable) for variable in variables}
    for layer in layers:
        own = [*layer._trainable_variables, *layer._non_trainable_variables]
        if own and all(id(variable) in matched for variable in own):
            layer.trainable = False
            matched -= {id(variable) for variable in own}
    for layer in layers:
        for variable in layer._trainable_variables:
            if id(variable) in matched:
                variable.trainable = False
                matched.discard(id(variable))
    statistic = next((variable.path for variable in variables if id(variable) in matched), None)
    if statistic is not None:
        raise UserError(
            f"model.freeze must name layers or weights, got {pattern}, which matches the statistic {statistic}; name "
            "its layer, whose statistics then stay too"
        )


def _no_match(pattern: str, layers: Sequence[str], variables: Sequence[str]) -> str:
    near = closest(pattern, [*layers, *variables])
    some = ", ".join([*dict.fromkeys(layers)][:SHOWN])
    hint = f"did you mean {near}? " if near is not None else ""
    return f"model.freeze must match a layer or variable, got {pattern}; {hint}layers: {some}" + (
        ", ..." if len(set(layers)) > SHOWN else ""
    )
