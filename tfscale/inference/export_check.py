"""Runs an exported model on some examples in a process of its own; a script that does not import tfscale.

    python -P export_check.py FORMAT MODEL INPUTS.npz OUTPUTS.npz

Inputs are by name, [b, ...]; outputs are written by name. For the format `weights` the outputs are all arrays.
"""

import os
import sys
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def _keras(path: str, inputs: Arrays) -> Any:
    import keras

    model: Any = keras.models.load_model(path)
    given = {each.name: inputs[each.name] for each in model.inputs}
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in given.items()}
    return model(next(iter(tensors.values())) if len(tensors) == 1 else _nested(model, tensors))


def _nested(model: Any, tensors: dict[str, Any]) -> Any:
    """Gives tensors as the model's inputs are nested."""
    return tensors if isinstance(model.input, dict) else list(tensors.values())


def _saved_model(path: str, inputs: Arrays) -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # its variables live as long as it
    return loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in inputs.items()})


def _onnx(path: str, inputs: Arrays) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _tflite(path: str, inputs: Arrays) -> Any:
    import warnings

    import tensorflow as tf

    warnings.simplefilter("ignore")  # TensorFlow's interpreter announces LiteRT's
    interpreter = tf.lite.Interpreter(model_path=path)  # outputs live as long as it
    runner = interpreter.get_signature_runner("serving_default")
    batch = next(iter(runner.get_input_details().values()))["shape_signature"][0]
    if batch != 1:
        return {name: np.array(value) for name, value in runner(**inputs).items()}
    count = len(next(iter(inputs.values())))
    parts = []
    for index in range(count):
        outputs = runner(**{name: value[index : index + 1] for name, value in inputs.items()})
        parts.append({name: np.array(value) for name, value in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _weights(path: str, inputs: Arrays) -> Any:
    if path.endswith(".safetensors"):
        import safetensors.numpy

        return safetensors.numpy.load_file(path)
    import h5py

    found: Arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: np.asarray(item)}) if isinstance(item, h5py.Dataset) else None
        )
    return {f"{index:06}": array for index, array in enumerate(found.values())}


READERS = {"keras": _keras, "saved_model": _saved_model, "onnx": _onnx, "tflite": _tflite, "weights": _weights}


def main(kind: str, path: str, inputs: str, outputs: str) -> None:
    """Loads the model, and writes its outputs."""
    with np.load(inputs) as file:
        found = READERS[kind](path, dict(file))
    if not isinstance(found, dict):
        found = {"output": found}
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in found.items()}
    np.savez(outputs, **arrays)


if __name__ == "__main__":
    sys.modules["tfscale"] = None  # type: ignore[assignment] - whatever imports it fails
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    main(*sys.argv[1:])
