"""Writers of the formats that trained models are exported to, and their metadata.

The metadata (class names, inputs, run, step) lie inside: `tfscale.json` in the archive of a .keras file, and in one at
the end of a .tflite file; in the folder assets.extra of a SavedModel; in the metadata of ONNX, safetensors and HDF5.
"""

import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import safetensors.numpy
import tensorflow as tf

from tfscale.config import exports
from tfscale.errors import UserError, first_line
from tfscale.specs import leaves
from tfscale.startup_noise import hidden_stderr

METADATA = "tfscale.json"
"""Name of the metadata's file."""

OPSET = 17
"""Version of ONNX's operators: what runtimes since 2022 have."""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """The writer of a format.

    Attributes:
        write: Model, path and metadata -> None.
        takes_text: Whether strings can be inputs.
        wide: Whether float64 operations exist.
    """

    write: Callable[[keras.Model, Path, Mapping[str, Any]], None]
    takes_text: bool = True
    wide: bool = True


def output_names(model: Any) -> list[str]:
    """Returns the names of a model's outputs; "output" for the only one."""
    names = list(leaves(model.output)) if isinstance(model.output, dict | tuple) else [""]
    return [name or "output" for name in names]


def _named_outputs(model: Any, inputs: Any) -> dict[str, tf.Tensor]:
    outputs = model(inputs, training=False)
    return dict(zip(output_names(model), leaves(outputs).values(), strict=True))


def _signature(model: keras.Model) -> dict[str, tf.TensorSpec]:
    return {each.name: tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in model.inputs}


def _serve(model: Any) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns the function of a SavedModel, with an argument for each input."""

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = list(inputs.values())
        given = inputs if isinstance(model.input, dict) else parts[0] if len(parts) == 1 else parts
        return _named_outputs(model, given)

    return serve


def _save_model(model: keras.Model, path: Path, specs: Mapping[str, tf.TensorSpec]) -> None:
    module = tf.Module()
    module.model = model  # its variables and lookup tables
    function = tf.function(_serve(model), autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(path), signatures={"serving_default": function})


def _write_saved_model(model: keras.Model, path: Path, metadata: Mapping[str, Any]) -> None:
    _save_model(model, path, _signature(model))
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / METADATA).write_text(_text(metadata))


def _write_keras(model: keras.Model, path: Path, metadata: Mapping[str, Any]) -> None:
    layers = [type(layer) for layer in model._flatten_layers()]
    foreign = [f"{each.__module__}.{each.__qualname__}" for each in layers if not each.__module__.startswith("keras.")]
    foreign = foreign or sorted(set(_foreign_classes(keras.saving.serialize_keras_object(model))))
    if foreign:
        raise UserError(
            f"format keras must have layers of Keras alone, as such a file loads without your code, got {foreign[0]}; "
            "choose saved_model"
        )
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, _text(metadata))


def _foreign_classes(node: Any) -> Iterator[str]:
    """Yields the classes of a serialized model that are not Keras's own."""
    if isinstance(node, dict):
        module = node.get("module")
        name = node.get("registered_name") or ""
        if node.get("class_name") == "Lambda":  # holds code, which a reader must not run
            yield "keras.layers.Lambda"
        elif "class_name" in node and (
            (module is not None and not str(module).startswith(("keras", "builtins")))
            or (module is None and name and name != "Functional" and ">" in str(name))
        ):
            yield f"{module or ''}.{node['class_name']}".strip(".")
        for part in node.values():
            yield from _foreign_classes(part)
    elif isinstance(node, list | tuple):
        for part in node:
            yield from _foreign_classes(part)


def _write_weights(model: keras.Model, path: Path, metadata: Mapping[str, Any]) -> None:
    if path.name.endswith(".safetensors"):
        arrays = {each.path: np.ascontiguousarray(each.numpy()) for each in model.weights}
        safetensors.numpy.save_file(arrays, path, metadata={METADATA: _text(metadata)})
        return
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        file.attrs[METADATA] = _text(metadata)


def _write_onnx(model: keras.Model, path: Path, metadata: Mapping[str, Any]) -> None:
    import onnx
    import tf2onnx

    specs = list(_signature(model).values())
    names = output_names(model)

    def flat(*inputs: tf.Tensor) -> list[tf.Tensor]:
        given = dict(zip((each.name for each in model.inputs), inputs, strict=True))
        outputs = _serve(model)(**given)
        return [tf.identity(outputs[name], name=name) for name in names]

    function = tf.function(flat, input_signature=specs, autograph=False)
    handlers = {"Erfc": (_erfc, [])}
    proto, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET, custom_op_handlers=handlers)
    _rename_outputs(proto.graph, names)
    for key, value in {METADATA: _text(metadata)}.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """Replaces an operation of TensorFlow's gelu that ONNX lacks: erfc(x) = 1 - erf(x)."""
    dtype = graph.get_dtype(node.output[0])
    from onnx.helper import tensor_dtype_to_np_dtype

    erf = graph.make_node("Erf", node.input)
    one = graph.make_const(f"{name}/one", np.asarray(1, tensor_dtype_to_np_dtype(dtype)))
    graph.remove_node(node.name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name, dtypes=[dtype])


def _rename_outputs(graph: Any, names: list[str]) -> None:
    """Gives the outputs of an ONNX graph, which are in order, their names."""
    renamed = {output.name: name for output, name in zip(graph.output, names, strict=True)}
    for output in graph.output:
        output.name = renamed[output.name]
    for node in graph.node:
        for parts in (node.input, node.output):
            for index, name in enumerate(parts):
                parts[index] = renamed.get(name, name)


def _write_tflite(model: keras.Model, path: Path, metadata: Mapping[str, Any]) -> None:
    content, failure = None, None
    for batch in (None, 1):  # loops, as of a GRU, need a batch of one size
        specs = {
            name: tf.TensorSpec((batch, *spec.shape[1:]), spec.dtype, name=name)
            for name, spec in _signature(model).items()
        }
        try:
            with hidden_stderr():  # of the first attempt, whose failure is none
                content = _converted(model, specs)
            break
        except Exception as error:  # noqa: BLE001 - the converter raises several kinds
            failure = error.with_traceback(None)
    if content is None:
        why = "" if failure is None else first_line(failure)
        raise UserError(f"format=tflite cannot hold this model: {why}; type format=onnx") from failure
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, _text(metadata))


def _converted(model: keras.Model, specs: Mapping[str, tf.TensorSpec]) -> bytes:
    function = tf.function(_serve(_Constant(model)), autograph=False).get_concrete_function(**specs)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf.saved_model.save(tf.Module(), folder, signatures={"serving_default": function})
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


class _Constant:
    """A model whose weights are constants: the converter would leave variables without their values.

    Args:
        model: Whose weights are taken now.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, self.input, self.output = model, model.input, model.output
        self._trained = [each.numpy() for each in model.trainable_variables]
        self._others = [each.numpy() for each in model.non_trainable_variables]

    def __call__(self, inputs: Any, training: bool) -> Any:
        """Returns the outputs."""
        trained, others = ([tf.constant(each) for each in part] for part in (self._trained, self._others))
        return self._model.stateless_call(trained, others, inputs, training=training)[0]


def _text(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"


WRITERS: Mapping[exports.Format, Writer] = {
    "keras": Writer(write=_write_keras),
    "saved_model": Writer(write=_write_saved_model),
    "weights": Writer(write=_write_weights),
    "onnx": Writer(write=_write_onnx, takes_text=False),
    "tflite": Writer(write=_write_tflite, takes_text=False, wide=False),
}
