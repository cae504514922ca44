"""Threshold sharing: nothing lost, void steps skipped alike, thresholds agreed, and every option does what it says."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import SHARING, SMALL, parameters, run
from tests.support.marks import quick
from tfscale.collectives.in_process import InProcess
from tfscale.compression.codecs.smallest import Smallest
from tfscale.compression.codecs.word32 import Word32
from tfscale.compression.message import HEADER
from tfscale.compression.thresholds import Adaptive, Fixed, TargetDensity
from tfscale.data.base import Shard, Split
from tfscale.job.build import Job
from tfscale.strategies.gradient_sharing.strategy import GradientSharing
from tfscale.strategies.outer_optimizer import OuterOptimizer
from tfscale.vectors import Layout

REPLICAS = 3
DEFAULTS = {
    "codec": Smallest(),
    "per_tensor": False,
    "shares": "gradients",
    "every": 1,
    "outer": OuterOptimizer(learning_rate=1.0, momentum=0.0, nesterov=False),
    "combine": "sum",
    "levels": 1,
    "residual_decay": 1.0,
    "min_size": 0,
    "clip_norm": None,
    "clip_residual": None,
    "clip_every": 1,
    "warmup": 0,
    "flush_every": None,
    "delay": 0,
    "momentum": 0.0,
    "nesterov": False,
    "masking": True,
    "auto": False,
    "group": 1,
    "reduce": "gather",
    "kernel": "native",
}


def sharing(threshold: object, *sizes: int, **settings: object) -> GradientSharing:
    """Three replicas in this process."""
    values = {**DEFAULTS, **settings}
    strategy = GradientSharing(collective=InProcess(replicas=REPLICAS), threshold=threshold, **values)
    names = tuple(f"tensor{index}" for index in range(len(sizes)))
    strategy.build([tf.zeros([sum(sizes)])] * REPLICAS, Layout(names=names, sizes=sizes), lambda: tf.constant(0.1))
    return strategy


def step(strategy: GradientSharing, gradients: Sequence[object], number: int = 0) -> np.ndarray:
    """What all replicas apply at a step."""
    given = [[tf.constant(each, tf.float32)] for each in gradients]
    held = [[tf.zeros(each.shape)] for (each,) in given]
    first, *others = strategy.reduce_gradients(given, held, tf.constant(number, tf.int64))
    for each in others:
        np.testing.assert_array_equal(each[0], first[0])
    return first[0].numpy()


def state(strategy: GradientSharing, name: str) -> list[np.ndarray]:
    return [strategy.replica_state(index)[name].numpy() for index in range(REPLICAS)]


def measured(strategy: GradientSharing, name: str) -> float:
    return float(strategy.measurements()[name])


THRESHOLDS = {
    "fixed": Fixed(initial=0.5),
    "adaptive": Adaptive(initial=0.5, minimum=1e-3, maximum=1e-1),
    "target": TargetDensity(initial=0.5, density=0.01, ramp=10, gain=1.0),
    "target, proposed": TargetDensity(initial=None, density=0.01, ramp=10, gain=1.0),
}
COURSES = {
    "": {},
    "warm-up": {"warmup": 2},
    "flushed": {"flush_every": 7},
    "delayed": {"delay": 1, "flush_every": 7},
    "per tensor, small ones whole": {"per_tensor": True, "min_size": 10},
    "reference": {"kernel": "reference", "min_size": 10},
}


@pytest.mark.parametrize(
    ("threshold", "schedule"),
    [
        *((threshold, "") for threshold in THRESHOLDS),
        *(("target, proposed", schedule) for schedule in COURSES if schedule),
    ],
)
def test_nothing_is_lost(threshold: str, schedule: str) -> None:
    """What was applied, what waits and what travels is what was contributed, void steps and all."""
    sizes, steps = (900, 3, 100), 60
    strategy = sharing(THRESHOLDS[threshold], *sizes, **COURSES[schedule])
    random = np.random.default_rng(0)
    exchange = tf.function(strategy.reduce_gradients)
    applied, contributed = np.zeros(sum(sizes)), np.zeros(sum(sizes))
    held = [[tf.zeros([sum(sizes)])]] * REPLICAS
    for number in range(steps):
        gradients = [random.standard_normal(sum(sizes)).astype(np.float32) for _ in range(REPLICAS)]
        contributed += np.sum(gradients, axis=0, dtype=np.float64)
        received = exchange([[tf.constant(each)] for each in gradients], held, tf.constant(number, tf.int64))
        applied += received[0][0].numpy()
    if COURSES[schedule].get("delay"):  # one more step for what was under way
        residuals = np.sum(state(strategy, "residual"), axis=0, dtype=np.float64)
        applied += exchange(held, held, tf.constant(steps, tf.int64))[0][0].numpy()
    else:
        residuals = np.sum(state(strategy, "residual"), axis=0, dtype=np.float64)
    assert np.abs(applied).max() > 1
    # float32 accumulation over sixty steps of three unit gradients.
    np.testing.assert_allclose(applied + residuals, contributed, atol=2e-4)


def test_momentum_is_that_of_the_optimizer() -> None:
    """Dense steps leave nothing waiting, so momentum before the exchange is plain momentum."""
    strategy = sharing(Fixed(initial=1e-30), 4, combine="mean", momentum=0.5, warmup=10)
    got = [float(step(strategy, [np.ones(4)] * 3, number)[0]) for number in range(3)]
    assert got == pytest.approx([1.0, 1.5, 1.75])


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e38, -3e19])
@pytest.mark.parametrize("schedule", [{}, {"delay": 1}, {"kernel": "reference"}])
def test_one_replicas_nan_is_skipped_by_all(poison: float, schedule: dict[str, object]) -> None:
    strategy = sharing(Fixed(initial=0.5), 3, momentum=0.9, masking=False, **schedule)
    good, bad = [1.0, 0.2, 0.0], [1.0, poison, 0.0]
    received = step(strategy, [good, bad, good], 0)
    if "delay" in schedule:
        received = step(strategy, [[0, 0, 0]] * 3, 1)
    assert not received.any()
    assert measured(strategy, "skipped_steps") == 1
    for index, residual in enumerate(state(strategy, "residual")):
        assert (residual[0] >= 1.0) == (index != 1), "what was about to be sent waits"
        assert (residual[1] != 0) == (index != 1), "and nothing of the poisoned contribution"
    assert step(strategy, [good] * 3, 2).any()


def test_a_nan_in_a_dense_step_is_skipped() -> None:
    strategy = sharing(Fixed(initial=0.5), 2, warmup=5)
    assert not step(strategy, [[1, 1], [np.nan, 1], [1, 1]]).any()
    assert measured(strategy, "skipped_steps") == 1
    assert not np.any(state(strategy, "residual"))


@pytest.mark.parametrize("schedule", [{}, {"warmup": 5}])
def test_a_replica_that_holds_other_parameters_is_named_in_every_kind_of_step(schedule: dict[str, int]) -> None:
    strategy = sharing(Fixed(initial=0.5), 2, **schedule)
    given, held = [[tf.ones([2])]] * REPLICAS, [[tf.zeros([2])], [tf.ones([2])], [tf.zeros([2])]]
    with pytest.raises(tf.errors.OpError, match=r"rank 1 .*differ|parameters of rank 1 differ"):
        strategy.reduce_gradients(given, held, tf.constant(0, tf.int64))


@pytest.mark.parametrize(
    ("shares", "delay"),
    quick(itertools.product(("gradients", "updates"), (0, 1)), only=[("gradients", 0), ("updates", 1)]),
)
def test_training_goes_on_after_a_nan(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, shares: str, delay: int
) -> None:
    """One replica's batch is poisoned at step 5: one step is skipped by all, and nothing stays behind in any slot."""
    words = (f"strategy.shares={shares}", f"strategy.delay={delay}", "data.noise=0.3", "train.batch=16")
    job = build_job(*SMALL, *SHARING, *words)
    before = job.evaluator(job.state.consensus(), Split.TEST)["loss"]
    clean = job.data.train

    def poisoned(shard: Shard, **settings: int) -> Iterator[tuple[tf.Tensor, ...]]:
        for number, (x, y, weight) in enumerate(clean(shard, **settings)):
            yield (x * np.nan if number == 5 and shard.rank == 1 else x), y, weight

    monkeypatch.setattr(job.data, "train", poisoned)
    run(job, 60)
    assert int(job.state.strategy.measurements()["skipped_steps"]) == 1
    for index in range(2):
        arrays = job.state.replica_arrays(index)
        assert all(np.isfinite(each).all() for name, each in arrays.items() if not name.endswith("pending"))
    assert job.evaluator(job.state.consensus(), Split.TEST)["loss"] < before / 2


@pytest.mark.parametrize("settings", [{"warmup": 6}, {"flush_every": 1}])
def test_dense_steps_do_not_move_the_threshold(settings: dict[str, int]) -> None:
    """With a delay, messages that send nothing stand for them: once, each halved the threshold."""
    strategy = sharing(TargetDensity(initial=0.5, density=0.01, ramp=0, gain=1.0), 3, delay=1, **settings)
    for number in range(6):
        step(strategy, [[1, 1, 1]] * 3, number)
    assert measured(strategy, "threshold") == 0.5


@pytest.mark.parametrize("per_tensor", [False, True])
def test_the_first_threshold_is_the_mean_of_what_replicas_propose(per_tensor: bool) -> None:
    policy = TargetDensity(initial=None, density=0.01, ramp=0, gain=1.0)
    strategy = sharing(policy, 1000, 100, per_tensor=per_tensor)
    ladder = np.concatenate([np.arange(1000), np.zeros(100)])
    assert not step(strategy, [np.zeros(1100)] * 3, 0).any()
    assert measured(strategy, "threshold") == 0, "nobody has anything to send yet"
    assert not step(strategy, [ladder, 2 * ladder, 3 * ladder], 1).any()
    # Ten (eleven) of a thousand elements are as large; a tensor without any takes the others' threshold.
    assert measured(strategy, "threshold") == 2 * (990 if per_tensor else 989)


def test_a_step_without_anything_to_send_still_travels() -> None:
    strategy = sharing(Fixed(initial=0.5), 40, delay=1)
    exchange = tf.function(strategy.reduce_gradients)
    for number in range(1000):
        nothing = exchange([[tf.zeros([40])]] * 3, [[tf.zeros([40])]] * 3, tf.constant(number, tf.int64))
        assert not nothing[0][0].numpy().any()
    assert measured(strategy, "bytes_sent") == 1000 * 3 * 2 * 4 * HEADER
    assert measured(strategy, "density") == 0


def test_bytes_are_counted_as_they_travel() -> None:
    strategy = sharing(Fixed(initial=0.5), 100, codec=Word32())
    step(strategy, [[1.0] * 3 + [0.0] * 97] * 3)
    assert measured(strategy, "bytes_sent") == 3 * 2 * 4 * (HEADER + 3), "three messages, to two others each"


@pytest.mark.parametrize(("seconds", "loses"), [(1e-9, False), (1e3, True)])
def test_auto_turns_compression_off_where_it_loses(
    monkeypatch: pytest.MonkeyPatch, seconds: float, loses: bool
) -> None:
    strategy = sharing(Fixed(initial=0.5), 2, auto=True, delay=1)
    assert not step(strategy, [[3, 0.25]] * 3, 0).any()
    strategy._compression.steered.assign(60)
    assert strategy.autotune(99) is None
    monkeypatch.setattr(strategy._reducer.stopwatch, "least_seconds", lambda: float("inf"))
    assert strategy.autotune(100) is None, "nothing has been measured yet"
    monkeypatch.setattr(strategy._reducer.stopwatch, "least_seconds", lambda: seconds)
    words = strategy.autotune(100)
    assert words is not None
    assert words.endswith("an allreduce takes over" if loses else "compression stays")
    assert "an allreduce of 2 floats about" in words
    received = step(strategy, [[0, 0]] * 3, 1)
    assert received.tolist() == ([9.0, 0.75] if loses else [1.5, 0.0]), (
        "all that waits, or one quantum of three replicas"
    )


# What an option changes: settings that bring it out, and what is then seen with the first and with the second value.
# One replica's gradient is in `GRADIENT`; the others' are zero.
GRADIENT = [3.0, -0.75, 0.25, 0.1]


def reviewed(strategy: GradientSharing) -> bool:
    run_steps(strategy, 2)
    strategy._compression.steered.assign(60)
    return strategy.autotune(100) is not None


Looks = Callable[[GradientSharing], object]


def after(steps: int, look: Looks) -> Looks:
    """What is seen once some steps are done."""
    return lambda strategy: (run_steps(strategy, steps), look(strategy))[1]


def residual(place: int) -> Looks:
    return lambda strategy: state(strategy, "residual")[0][place]


def applied(steps: int, place: int) -> Looks:
    return lambda strategy: run_steps(strategy, steps)[place]


STEERED = {"threshold": TargetDensity(initial=0.5, density=0.01, ramp=0, gain=1.0)}
MOVING = {"momentum": 0.5}
KERNELS = ("native kernels", "the reference backend (TensorFlow operations)")
REDUCED = (["gather"], ["scatter", "gather"])

OPTIONS: dict[str, tuple[tuple[object, object], dict[str, object], Looks, tuple[object, object]]] = {
    "combine": (("sum", "mean"), {}, applied(1, 0), (0.5, 0.5 / 3)),
    "delay": ((0, 1), {}, lambda s: [each[0] for each in run_each(s, 2)], ([0.5, 0.5], [0.0, 0.5])),
    "per_tensor": (
        (False, True),
        STEERED,
        after(1, lambda s: len(set(s.tensor_measurements()["threshold"].numpy().tolist()))),
        (1, 2),
    ),
    "min_size": ((0, 2), {}, applied(1, 3), (0.0, 0.1)),
    "momentum": ((0.0, 0.5), {}, after(2, residual(2)), (0.25, 0.375)),
    "nesterov": ((False, True), MOVING, after(1, residual(2)), (0.25, 0.375)),
    "masking": ((False, True), MOVING, after(1, lambda s: state(s, "velocity")[0][0]), (3.0, 0.0)),
    "warmup": ((0, 1), {}, applied(1, 0), (0.5, 3.0)),
    "flush_every": ((None, 2), {}, applied(2, 0), (0.5, 2.5)),
    "clip_norm": ((None, 3.0), {}, after(1, residual(0)), (2.5, 1.174002)),
    "clip_residual": ((None, 2.0), {}, after(1, residual(0)), (2.5, 1.0)),
    "clip_every": ((1, 2), {"clip_residual": 2.0}, after(1, residual(0)), (1.0, 2.5)),
    "auto": ((False, True), {}, lambda s: reviewed(s), (False, True)),
    "reduce": (("gather", "scatter"), {}, after(1, lambda s: [each.kind for each in s.traffic()]), REDUCED),
    "kernel": (("native", "reference"), {}, lambda s: s._reducer.backend.name, KERNELS),
    "codec": ((Word32(), Smallest()), {}, after(1, lambda s: measured(s, "bytes_sent")), (160.0, 152.0)),
}


ROUNDS = ("every", "outer", "levels", "residual_decay")


def run_each(strategy: GradientSharing, steps: int) -> list[list[float]]:
    nothing = [0.0] * 4
    given = [[GRADIENT, nothing, nothing], *[[nothing] * 3] * (steps - 1)]
    return [step(strategy, each, number).tolist() for number, each in enumerate(given)]


def run_steps(strategy: GradientSharing, steps: int) -> list[float]:
    return run_each(strategy, steps)[-1]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_does_what_it_says(option: str) -> None:
    values, settings, look, wanted = OPTIONS[option]
    for value, expected in zip(values, wanted, strict=True):
        given = {"threshold": Fixed(initial=0.5), **settings, option: value}
        assert look(sharing(given.pop("threshold"), 3, 1, **given)) == pytest.approx(expected)


def test_the_old_word_for_the_reference_backend_still_selects_it() -> None:
    assert sharing(Fixed(initial=0.5), 4, kernel="reference").describe().notes[0].endswith(KERNELS[1])


def test_every_option_is_in_the_table() -> None:
    """Those left out have tests of their own: test_thresholds, test_contracts, test_groups, test_rounds and others."""
    import inspect

    taken = inspect.signature(GradientSharing).parameters.keys()
    assert taken - {"collective", "threshold", "shares", "group", *ROUNDS} == OPTIONS.keys()


def test_sharing_updates_is_not_sharing_gradients(build_job: Callable[..., Job]) -> None:
    """Each replica's Adam makes its own update of its own gradient; shared gradients keep optimizers alike."""
    slots = {}
    for shares in ("gradients", "updates"):
        words = (*SMALL, *SHARING, f"strategy.shares={shares}", "optimizer=adam", "train.batch=16")
        job = run(build_job(*words), 5)
        own = [job.state.replica_arrays(index) for index in range(2)]
        slots[shares] = all(
            np.array_equal(own[0][name], own[1][name]) for name in own[0] if "velocity" in name and "optimizer" in name
        )
        assert np.array_equal(*[each[: job.layout.size] for each in parameters(job)])
    assert slots == {"gradients": True, "updates": False}
