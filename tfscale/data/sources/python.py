"""Source for a function of the user's own that returns a tf.data.Dataset of single examples.

The dataset knows no index, so its order is its own, and a resumed run reads it from the beginning of the epoch on. Data
that can be read by index should be a function that returns `base.Arrays` or a `base.Source` instead.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tfscale.data.base import Normalizer, Split
from tfscale.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from tfscale.data.sequential import SequentialData
    from tfscale.specs import Nested

SPLITS = {Split.TRAIN: "train", Split.VALIDATION: "validation", Split.TEST: "test"}
"""Values of the function's argument `split`."""

WARNING = (
    "the examples of data.function are read in sequence: a resumed run reads those of its epoch before its step again, "
    "and drops them"
)


def check(
    *, function: str | None, examples: int | None, vocabulary: int | None, arguments: Mapping[str, object]
) -> None:
    """Checks that a function is named.

    Raises:
        UserError: None is, or its path has no module.
    """
    if function is None or "." not in function.strip("."):
        raise UserError(
            f"data.function must be MODULE.FUNCTION, a function that returns a tf.data.Dataset of examples, got "
            f"{function or 'null'}; type data.function=MODULE.FUNCTION trust=[MODULE]"
        )
    taken = [key for key in ("split", "epoch", "seed") if key in arguments]
    if taken:
        raise UserError(f"data.arguments must not have {taken[0]}, which tfscale gives itself; leave it out")


def python(
    *,
    function: "Callable[..., tf.data.Dataset]",
    examples: int | None,
    vocabulary: int | None,
    arguments: Mapping[str, object],
) -> "SequentialData":
    """Counts the examples of the function's datasets in one pass, and describes them.

    The function is called for each epoch with those of `split` ("train", "validation" or "test"), `epoch` and `seed`
    that it takes. The same arguments must give the same examples in the same order. With `split`, it returns None for a
    split that it does not have; without, there are only training examples.

    Args:
        function: Returns a dataset of (x, y), (x, y, weight), or dictionaries with these keys.
        examples: Number of training examples of an epoch, if the dataset is longer or endless; None for all.
        vocabulary: Number of ids if x are ids; None if x are measurements.
        arguments: More keyword arguments of the function.

    Raises:
        UserError: The function returns something else, or other examples when it is called again.
    """
    import tensorflow as tf

    from tfscale.data import normalize
    from tfscale.data.counted import counted, start_of
    from tfscale.data.sequential import SequentialData
    from tfscale.specs import map_parts

    accepted = _accepted(function)
    make = partial(_made, function, accepted, arguments, examples)
    splits = SPLITS if "split" in accepted else {Split.TRAIN: "train"}
    found = {split: make(split, 0, 0) for split in splits}
    datasets = {split: dataset for split, dataset in found.items() if dataset is not None}
    if Split.TRAIN not in datasets:
        raise UserError("data.function must return a tf.data.Dataset for split=train, got None; return one")
    facts = counted(datasets, vocabulary)
    if examples is not None and facts.sizes[Split.TRAIN] < examples:
        raise UserError(
            f"data.examples must be at most the number of training examples, {facts.sizes[Split.TRAIN]:,}, got "
            f"{examples:,}; type data.examples=null"
        )
    if start_of(datasets[Split.TRAIN]) != start_of(_present(make(Split.TRAIN, 0, 0))):
        raise UserError(
            "data.function must give the same examples in the same order whenever it is called with the same "
            "arguments, got others the second time; give shuffle() a seed and reshuffle_each_iteration=False"
        )

    def encoded(split: Split, epoch: int, seed: int) -> "tf.data.Dataset":
        def encode(x: "Nested[tf.Tensor]", y: "Nested[tf.Tensor]", weight: "tf.Tensor") -> tuple[Any, Any, Any]:
            known = tf.nest.map_structure(lambda part, spec: tf.ensure_shape(part, spec.shape), x, facts.spec.x)
            return known, facts.encode(y), weight

        return _present(make(split, epoch, seed)).map(encode)

    scale, warnings = normalize.automatic_scale(facts.spec.x)
    return SequentialData(
        encoded,
        spec=facts.spec,
        sizes=facts.sizes,
        digest=facts.digest,
        normalizers=map_parts(
            lambda spec: Normalizer(factor=scale) if spec.categories is None else Normalizer(), facts.spec.x
        ),
        warnings=(WARNING, *warnings),
    )


def _accepted(function: Callable[..., object]) -> frozenset[str]:
    """Returns which of split, epoch and seed the function takes."""
    parameters = inspect.signature(function).parameters
    named = frozenset(("split", "epoch", "seed"))
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return named
    return named & parameters.keys()


def _made(
    function: "Callable[..., tf.data.Dataset]",
    accepted: frozenset[str],
    arguments: Mapping[str, object],
    examples: int | None,
    split: Split,
    epoch: int,
    seed: int,
) -> "tf.data.Dataset | None":
    """Calls the function; returns its examples as (x, y, weight)."""
    import tensorflow as tf

    from tfscale.data.counted import roles

    given = {"split": SPLITS[split], "epoch": epoch, "seed": seed}
    made = function(**arguments, **{key: value for key, value in given.items() if key in accepted})
    if made is None and split is not Split.TRAIN:
        return None
    if not isinstance(made, tf.data.Dataset):
        raise UserError(f"data.function must return a tf.data.Dataset, got {type(made).__name__}; return one")
    dataset = made.map(tf.autograph.experimental.do_not_convert(roles))
    return dataset.take(examples) if examples is not None and split is Split.TRAIN else dataset


def _present(dataset: "tf.data.Dataset | None") -> "tf.data.Dataset":
    if dataset is None:
        raise UserError("data.function must return a tf.data.Dataset in each epoch, got None; return one")
    return dataset
