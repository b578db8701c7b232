"""Runs exported files without the library under test, whoever wrote them, and tells how far they are off."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

Arrays = list[np.ndarray]


def outputs_of(model: keras.Model, arrays: Arrays) -> Arrays:
    """Returns a model's outputs in inference, example by example, from zero states, in its own order."""
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) and layer.built:
            layer.reset_state()
    nested = nested_inputs(model)
    return _row_by_row(arrays, lambda rows: model(keras.tree.pack_sequence_as(nested, rows), training=False))


def run_lite(path: Path, model: keras.Model, arrays: Arrays, outputs: list[str]) -> Arrays:
    """Runs the only signature of a TFLite file example by example.

    Args:
        path: the file.
        model: what it was made from.
        arrays: an array for each of the model's inputs.
        outputs: what the file calls its outputs, in the model's order; where it has none such, its own order counts.
    """
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    ((signature, ends),) = interpreter.get_signature_list().items()
    serve = interpreter.get_signature_runner(signature)
    sources = _sources(ends["inputs"], model)
    order = outputs if set(outputs) == set(ends["outputs"]) else ends["outputs"]

    def run(rows: Arrays) -> Arrays:
        given = serve(**{name: rows[source] for name, source in sources.items()})
        return [given[name] for name in order]

    return _row_by_row(arrays, run)


def run_onnx(path: Path, model: keras.Model, arrays: Arrays, outputs: list[str], *, one_by_one: bool = False) -> Arrays:
    """Runs an ONNX file on all examples at once, or one by one if asked for or if the model wants it so."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    sources = _sources([each.name for each in session.get_inputs()], model)
    given = [each.name for each in session.get_outputs()]
    order = outputs if set(outputs) == set(given) else given

    def run(rows: Arrays) -> Arrays:
        return session.run(order, {name: rows[source] for name, source in sources.items()})

    one_by_one = one_by_one or any(tensor.shape[0] == 1 for tensor in getattr(model, "inputs", None) or [])
    return _row_by_row(arrays, run) if one_by_one else run(arrays)


def gap(expected: Arrays, given: Arrays) -> float:
    """The largest difference over max(1, largest expected), the worst of all outputs; infinity for another shape."""
    if [value.shape for value in expected] != [value.shape for value in given]:
        return float("inf")
    gaps = [np.abs(value.astype("float64") - other) for value, other in zip(expected, given, strict=True)]
    sizes = [max(1.0, np.abs(value.astype("float64")).max()) for value in expected]
    return max(float(np.nan_to_num(each, nan=1e9).max() / size) for each, size in zip(gaps, sizes, strict=True))


def nested_inputs(model: keras.Model):
    """The nested structure in which a model takes its inputs."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0]
    if getattr(model, "inputs", None):
        return model.input
    shape = model.get_build_config()["input_shape"]
    return dict.fromkeys(sorted(shape), 0) if isinstance(shape, dict) else 0


def _sources(wanted: list[str], model: keras.Model) -> dict[str, int]:
    """Finds the model's input for each of a file's: by name, however that was spelt, or else by place."""
    nested, tensors = nested_inputs(model), getattr(model, "inputs", None)
    names = [each.name for each in tensors] if tensors else list(nested) if isinstance(nested, dict) else ["input_0"]
    plain = ["".join(filter(str.isalnum, name)) for name in names]
    found = ["".join(filter(str.isalnum, name.removesuffix(":0").removeprefix("serve_"))) for name in wanted]
    if sorted(found) == sorted(plain) and len(set(plain)) == len(plain):
        return {name: plain.index(each) for name, each in zip(wanted, found, strict=True)}
    if len(wanted) != len(names):
        raise ValueError(f"the file has the inputs {wanted}")
    return {name: index for index, name in enumerate(wanted)}


def _row_by_row(arrays: Arrays, run) -> Arrays:
    rows = [[array[row : row + 1] for array in arrays] for row in range(len(arrays[0]))]
    parts = [[np.atleast_1d(np.asarray(value)) for value in keras.tree.flatten(run(each))] for each in rows]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
