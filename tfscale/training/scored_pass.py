"""One pass over a split that gives the loss, the metrics and the states of all suites, the same bits at every W.

The model sees the examples in blocks of BLOCK: those numbered 0 to 63, 64 to 127, and so on. A block is never divided,
whatever the number of replicas and the batch that is read, so it goes through the same operations everywhere. What a
block gives is then added without rounding: losses, and the states of Keras metrics, which are sums. A metric whose
state is no sum is not mergeable, here as in training.

`evaluator` is quicker and rounds: it follows training every few steps, with as many examples at a time as fit well.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.collectives.checksummed import gather_bytes_of
from tfscale.config.schemas.evaluation import BLOCK
from tfscale.data.base import Batch, Data, Shard, Split
from tfscale.errors import RunError, UserError
from tfscale.evaluation import exact_sums
from tfscale.evaluation.base import Fold, Scored, State, Suite, packed, unpacked
from tfscale.specs import Nested, leaves
from tfscale.tasks.base import Task, Tensors
from tfscale.training.replica import Replica

ALL = "all"
"""Key of what all examples give; slices are numbered."""


@dataclass(frozen=True, kw_only=True)
class Slices:
    """A division of the examples of a split.

    Attributes:
        values: Name of each slice.
        of: [N] int64, the slice of each example; None if its class number is that of its slice.
    """

    values: Sequence[str]
    of: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """The result of a pass, the same in all processes.

    Attributes:
        measured: The loss, None if it is not finite, and the metrics.
        states: Output, suite and slice (or `ALL`) -> state.
    """

    measured: Mapping[str, float | None]
    states: Mapping[tuple[str, str, str], State]


@final
class ScoredPass:
    """Evaluates the model of the replicas, which all hold the same parameters.

    Args:
        replicas: This process's replicas.
        metrics: By name, built; one replica uses them after another.
        data: Source of the examples.
        collective: Gathers the states of all replicas.
        task: Gives targets, losses and metrics.
        suites: Output -> suites by name.
        slices: Divides the examples; None for no slices.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        metrics: Mapping[str, keras.Metric],
        data: Data,
        collective: Collective,
        task: Task,
        suites: Mapping[str, Mapping[str, Suite]],
        slices: Slices | None = None,
    ) -> None:
        self._replicas, self._metrics, self._data, self._collective = replicas, metrics, data, collective
        self._suites, self._slices = suites, slices
        self._scores = [_Score(replica, task, metrics) for replica in replicas]

    def __call__(self, split: Split, *, batch: int) -> PassResult:
        """Returns what the split gives. All processes must call it.

        Args:
            split: The examples.
            batch: Examples that are read at a time, a multiple of BLOCK; changes no result.

        Raises:
            RunError: An output is NaN or infinite.
        """
        shards = [_ShardPass(score, self._metrics, self._suites, self._slices) for score in self._scores]
        for replica, shard in zip(self._replicas, shards, strict=True):
            place = Shard(replica.rank, self._collective.size, BLOCK)
            shard.run(self._data.evaluate(split, place, batch=batch), place.bounds(self._data.sizes[split])[0])
        contents = gather_bytes_of(self._collective, [packed(shard.states()) for shard in shards])
        total = unpacked(contents[0])
        for content in contents[1:]:
            total = self._merged(total, unpacked(content))
        return PassResult(
            measured=shards[0].measured(total.pop("")),
            states={_parts(key): state for key, state in total.items()},
        )

    def _merged(self, one: Mapping[str, State], other: Mapping[str, State]) -> dict[str, State]:
        merged = {**one, **other}
        for key in one.keys() & other.keys():
            if key == "":
                merged[key] = {name: exact_sums.merged(one[key][name], other[key][name]) for name in one[key]}
            else:
                output, suite, _ = _parts(key)
                merged[key] = self._suites[output][suite].merge(one[key], other[key])
        return merged


@final
class _ShardPass:
    """The pass of one replica over its shard."""

    def __init__(
        self,
        score: "_Score",
        metrics: Mapping[str, keras.Metric],
        suites: Mapping[str, Mapping[str, Suite]],
        slices: Slices | None,
    ) -> None:
        self._score, self._metrics, self._suites, self._slices = score, metrics, suites, slices
        self._folds = {
            _key(output, name, ALL): Fold(suite) for output, named in suites.items() for name, suite in named.items()
        }
        self._losses, self._sums = exact_sums.zeros(2), exact_sums.zeros(sum(map(_size, self._metrics.values())))

    def run(self, batches: Iterable[Batch], first: int) -> None:
        """Scores the examples, the first of which has the number `first`."""
        number = first
        for x, y, weight in batches:
            parts = []
            for start in range(0, len(weight), BLOCK):
                block = tf.nest.map_structure(lambda part, start=start: part[start : start + BLOCK], (x, y, weight))
                parts.append(self._block(*block))
            targets, outputs = (
                {name: np.concatenate([part[which][name] for part in parts]) for name in parts[0][which]}
                for which in (0, 1)
            )
            numbers = np.arange(number, number + len(weight))
            number += len(weight)
            for name in outputs:
                _require_finite(outputs[name], numbers, name)
                self._note(name, Scored(targets=targets[name], scores=outputs[name], numbers=numbers))

    def _block(
        self, x: Nested[tf.Tensor], y: Nested[tf.Tensor], weight: tf.Tensor
    ) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
        """Returns targets and outputs by name, and adds losses and the states of metrics."""
        for metric in self._metrics.values():
            metric.reset_state()
        targets, outputs, losses, states = self._score(x, y, weight)
        weights = weight.numpy().astype(np.float64)
        weighed = np.stack([losses.numpy().astype(np.float64) * weights, weights], axis=1)
        self._losses = exact_sums.merged(self._losses, exact_sums.of(weighed))
        if self._sums.size:
            self._sums = exact_sums.merged(self._sums, exact_sums.of(states.numpy()[np.newaxis]))
        return tuple({name: part.numpy() for name, part in leaves(each).items()} for each in (targets, outputs))  # pyright: ignore[reportReturnType]

    def _note(self, output: str, scored: Scored) -> None:
        for name, suite in self._suites[output].items():
            self._folds[_key(output, name, ALL)].add(suite.of(scored))
            if self._slices is None:
                continue
            by_number = self._slices.of
            of = scored.targets.reshape(-1).astype(np.int64) if by_number is None else by_number[scored.numbers]
            for each in np.unique(of):
                key = _key(output, name, str(each))
                self._folds.setdefault(key, Fold(suite)).add(suite.of(scored.only(of == each)))

    def states(self) -> dict[str, State]:
        """Returns the states by key; that of losses and metrics has the key ""."""
        own = {"losses": self._losses, "metrics": self._sums}
        return {"": own, **{key: fold.state() for key, fold in self._folds.items()}}

    def measured(self, state: State) -> dict[str, float | None]:
        """Returns loss and metrics of the state of all replicas."""
        loss, weight = exact_sums.fractions(state["losses"])
        found: dict[str, float | None] = {"loss": None if loss is None or not weight else float(loss / weight)}
        sums, start = exact_sums.fractions(state["metrics"]), 0
        for name, metric in self._metrics.items():
            for variable in metric.variables:
                size = int(np.prod(variable.shape))
                values = [np.nan if each is None else float(each) for each in sums[start : start + size]]
                variable.assign(np.reshape(values, variable.shape).astype(variable.dtype))
                start += size
            found[name] = _scalar(name, metric.result())
        return found


def _scalar(name: str, result: tf.Tensor) -> float | None:
    if np.ndim(result):
        raise UserError(f"metrics.{name} must give one number, got shape {np.shape(result)}; choose how it averages")
    return float(result) if np.isfinite(result) else None


def _size(metric: keras.Metric) -> int:
    return sum(int(np.prod(variable.shape)) for variable in metric.variables)


@final
class _Score:
    """Compiles (x, y, weight) -> targets, outputs, losses [b] and the states of the metrics [m] after an update.

    It is traced once, for a batch of any size: the last block is smaller, and tracing can take longer than a pass.
    """

    def __init__(self, replica: Replica, task: Task, metrics: Mapping[str, keras.Metric]) -> None:
        self._replica, self._task, self._metrics = replica, task, metrics
        self._compiled: Callable[..., tuple[Tensors, Tensors, tf.Tensor, tf.Tensor]] | None = None

    def __call__(
        self, x: Nested[tf.Tensor], y: Nested[tf.Tensor], weight: tf.Tensor
    ) -> tuple[Tensors, Tensors, tf.Tensor, tf.Tensor]:
        """Scores a block."""
        if self._compiled is None:
            specs = tf.nest.map_structure(
                lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), (x, y, weight)
            )
            function = tf.function(self._score, autograph=False, jit_compile=False)
            self._compiled = function.get_concrete_function(*specs)
        return self._compiled(x, y, weight)  # pyright: ignore[reportOptionalCall]

    def _score(self, x: Nested[tf.Tensor], y: Nested[tf.Tensor], weight: tf.Tensor):
        with tf.device(self._replica.device):
            outputs, targets = self._replica.outputs(x, training=False), self._task.encode(x, y)
            for name, measure in self._task.measures.items():
                self._metrics[name].update_state(*(leaves(part)[measure.output] for part in (targets, outputs)))
            states = [
                tf.cast(tf.reshape(variable.value, [-1]), tf.float64)
                for metric in self._metrics.values()
                for variable in metric.variables
            ]
            together = tf.concat(states, axis=0) if states else tf.zeros([0], tf.float64)
            return targets, outputs, self._task.loss(targets, outputs), together


def _require_finite(scores: np.ndarray, numbers: np.ndarray, output: str) -> None:
    """Refuses outputs that no figure can be computed from.

    Raises:
        RunError: There is one; the first is named.
    """
    finite = np.isfinite(scores.reshape(len(scores), -1))
    if finite.all():
        return
    row = int(np.argmin(finite.all(axis=1)))
    value = scores[row].reshape(-1)[int(np.argmin(finite[row]))]
    where = f" ({output})" if output else ""
    raise RunError(
        f"the model's output{where} is {value} for example {numbers[row]:,} of the split, counted from 0, and nothing "
        "can be computed from it; look at this example's inputs, or evaluate an earlier checkpoint: checkpoint=best"
    )


def _key(output: str, suite: str, which: str) -> str:
    return "\n".join((output, suite, which))


def _parts(key: str) -> tuple[str, str, str]:
    output, suite, which = key.split("\n")
    return output, suite, which
