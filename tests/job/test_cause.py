"""What a user reads of an exception: what is wrong, and the line of the own code that is to be mended."""

import importlib.util
import sysconfig
from pathlib import Path

import pytest

from tfscale.job.cause import describe

MINE = """
import keras
import numpy as np
import tensorflow as tf

def labels():
    loss = tf.function(tf.nn.sparse_softmax_cross_entropy_with_logits, autograph=False)
    loss(labels=tf.constant([0, 2]), logits=tf.zeros([2, 2]))

def generator():
    def records():
        yield 1.0
        raise ValueError("bad record 7")
    list(tf.data.Dataset.from_generator(records, output_signature=tf.TensorSpec([], tf.float32)))

def callback():
    tf.function(lambda x: tf.numpy_function(lambda v: v / [][0], [x], tf.float32), autograph=False)(tf.constant(1.0))

def traced():
    @tf.function
    def grown(x):
        return tf.reshape(x, [3])
    grown(tf.zeros([2]))

def layer():
    class Mine(keras.layers.Layer):
        def call(self, x):
            raise RuntimeError("not for this shape")
    keras.Sequential([Mine()])(np.zeros([1, 2]))

def library():
    np.zeros([2]).reshape([3])

def plain():
    raise KeyError("weights")

def leaves():
    raise SystemExit("no licence")

def silent():
    raise SystemExit
"""
WANTED = {
    "labels": ("InvalidArgumentError: indices[1] = 2 is not in [0, 2)", 8),
    "generator": ("ValueError: bad record 7", 13),
    "callback": ("IndexError: list index out of range", 17),
    "traced": ("ValueError: Cannot reshape a tensor with 2 elements to shape [3]", 22),
    "layer": ("RuntimeError: not for this shape", 28),
    "library": ("ValueError: cannot reshape array of size 2 into shape (3,)", 32),
    "plain": ("KeyError: 'weights'", 35),
    "leaves": ("SystemExit: no licence", 38),
    "silent": ("SystemExit", 41),
}


@pytest.mark.parametrize("name", WANTED)
def test_the_first_line_that_informs_and_the_users_own_line_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It was: Graph execution error."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    assert spec is not None
    assert spec.loader is not None
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    message, line = WANTED[name]
    with pytest.raises(BaseException) as raised:
        getattr(mine, name)()
    error = raised.value.with_traceback(raised.value.__traceback__.tb_next if raised.value.__traceback__ else None)
    assert describe(error).startswith(message)
    assert describe(error).endswith(f" (mine.py:{line})")


GRAPH = f"""Graph execution error:

Detected at node Loss/SparseSoftmaxCrossEntropyWithLogits defined at (most recent call last):
  File "{sysconfig.get_path("scripts")}/tfscale", line 8, in <module>

Received a label value of 2 which is outside the valid range of [0, 2).  Label values: 0 2
\t [[{{{{node Loss/SparseSoftmaxCrossEntropyWithLogits}}}}]] [Op:__inference_step_9]"""
ROOTS = """Graph execution error:

2 root error(s) found.
  (0) INVALID_ARGUMENT:  Incompatible shapes: [2] vs. [3]
\t [[{{node add}}]]
  (1) INVALID_ARGUMENT:  Incompatible shapes: [2] vs. [3]
0 successful operations. [Op:__inference_step_9]"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GRAPH, "Received a label value of 2 which is outside the valid range of [0, 2).  Label values: 0 2"),
        (ROOTS, "Incompatible shapes: [2] vs. [3]"),
    ],
)
def test_the_stack_of_a_node_is_skipped(text: str, wanted: str) -> None:
    assert describe(ValueError(text)) == f"ValueError: {wanted}"


def test_an_error_without_a_line_of_the_user_has_none() -> None:
    assert describe(ValueError("x")) == "ValueError: x"
    assert describe(RuntimeError()) == "RuntimeError"
