"""Tracing of a Keras model for inference, as a TensorFlow function of named tensors."""

import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.errors import ExportError
from kerasdl.core.errors import first_line as first_line
from kerasdl.core.keras_graph import all_layers, is_graph
from kerasdl.core.startup.quiet import quiet_stderr

from ..samples.model_inputs import FREE_SIZE, NamedInput, structure

AT_ONCE = 8  # examples in a call of the model, which holds the outputs of all its layers until the end


@dataclass(frozen=True)
class Program:
    """Program of a file: a model with `training=False`, its inputs and outputs named."""

    model: keras.Model
    """The model."""
    inputs: tuple[NamedInput, ...]
    """Its inputs, in the order in which the model takes them."""
    outputs: tuple[str, ...]
    """The names of its outputs, in the order in which the model gives them."""

    def traced(self, batch: int | None) -> tf.types.experimental.GenericFunction:
        """Returns the function from named tensors to named tensors, traced for batches of one size (None: any)."""
        function = self.function()
        function.get_concrete_function(**self.specs(batch))
        return function

    def concrete(self, batch: int | None) -> tf.types.experimental.ConcreteFunction:
        """Returns the traced function itself, which holds its graph."""
        return self.function().get_concrete_function(**self.specs(batch))

    def function(self) -> tf.types.experimental.GenericFunction:
        """Returns the function from named tensors to named tensors, not traced yet."""

        def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            try:
                values = _call(self.model, [tensors[each.name] for each in self.inputs])
            except (ValueError, TypeError) as error:  # works in a call alone, such as adaptive pooling of few pixels
                raise _untraceable(self.model, error) from error
            return {name: tf.identity(value) for name, value in zip(self.outputs, values, strict=True)}

        return tf.function(serve, autograph=False)

    def specs(self, batch: int | None) -> dict[str, tf.TensorSpec]:
        """Returns the inputs as TensorFlow specs for batches of one size (None: any that the model takes)."""
        return {
            each.name: tf.TensorSpec((batch or self.batch, *each.shape[1:]), each.dtype, each.name)
            for each in self.inputs
        }

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs of the model itself, in float32 on the CPU (a GPU rounds products more coarsely)."""
        _start_from_zero(self.model)
        with tf.device("/cpu:0"):
            return in_batches(self.batch or AT_ONCE, arrays, self._run_batch)

    @property
    def batch(self) -> int | None:
        """The only batch size that the model takes, or None."""
        return 1 if any(each.shape[0] == 1 for each in self.inputs) else None

    def _run_batch(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = _call(self.model, [tf.constant(arrays[each.name]) for each in self.inputs])
        return {name: keras.ops.convert_to_numpy(value) for name, value in zip(self.outputs, values, strict=True)}


def program_of(model: keras.Model, inputs: tuple[NamedInput, ...]) -> Program:
    """Returns the program of a model with the given inputs.

    Outputs are named by their layer, by their key where the model returns a dict, and `output_0`, `output_1`, ... where
    neither is known; a second one of the same name, or one that bears an input's name, gets `_1`.
    """
    if is_graph(model):
        outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
        layers = getattr(model, "output_names", None) or [model.layers[-1].name]
    else:
        zeros = [tf.zeros((1, *(size or FREE_SIZE for size in each.shape[1:])), each.dtype) for each in inputs]
        outputs = model(keras.tree.pack_sequence_as(structure(model), zeros), training=False)
        layers = [f"output_{index}" for index, _ in enumerate(keras.tree.flatten(outputs))]
    paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
    used_names = {each.name for each in inputs}  # ONNX has one name space for inputs and outputs
    names: list[str] = []
    for path, layer in zip(paths, layers, strict=True):
        name = re.sub(r"\W", "_", "_".join(map(str, path)) if any(isinstance(key, str) for key in path) else layer)
        free = (name, *(f"{name}_{copy}" for copy in range(1, len(paths) + len(used_names) + 1)))
        names.append(next(candidate for candidate in free if candidate not in {*used_names, *names}))
    return Program(model, inputs, tuple(names))


@contextmanager
def for_inference(model: keras.Model) -> Iterator[list[str]]:
    """Context manager in which a model computes as files do, in float32 and without cuDNN kernels; yields notes on it.

    The layers' own settings are changed and restored: a copy would double the memory, and a subclassed model cannot be
    copied reliably. Stateful layers start from zero, as they do in a file, and get their states back too.

    Args:
        model: the model; its weights stay as they are.
    """
    layers = all_layers(model)
    halves = [layer for layer in [model, *layers] if layer.compute_dtype in ("bfloat16", "float16")]
    recurrent = [layer for layer in layers if isinstance(layer, keras.layers.RNN)]
    with ExitStack() as stack:
        for layer in halves:
            stack.callback(setattr, layer, "dtype_policy", layer.dtype_policy)
            layer.dtype_policy = "float32"
        for layer in recurrent:
            if hasattr(layer, "use_cudnn"):
                stack.callback(setattr, layer, "use_cudnn", layer.use_cudnn)
                layer.use_cudnn = False
        stateful = stateful_layers(model)
        for state in keras.tree.flatten([layer.states for layer in stateful]):
            stack.callback(state.assign, state.numpy())
        _start_from_zero(model)
        yield [
            *([f"{len(halves)} layers of reduced precision compute in float32"] if halves else []),
            *(f"{layer.name!r} keeps its state from call to call, from zero at first" for layer in stateful),
        ]


@contextmanager
def graph_names(model: keras.Model) -> Iterator[list[str]]:
    """Context manager in which layers and variables have names that TensorFlow's graphs can hold; yields notes on them.

    Such a name has only ASCII letters, digits and `_.>-`, and begins with a letter or a digit.

    Args:
        model: the model, whose layers get their own names back after the block.
    """
    layers = [model, *all_layers(model)]
    used_names, notes = {layer.name for layer in layers}, []
    with ExitStack() as stack:
        for layer in layers:
            new_name = graph_name(layer.name)
            if new_name == layer.name:
                continue
            while new_name in used_names:
                new_name += "_"
            used_names.add(new_name)
            notes.append(
                f"{layer.name!r} is called {new_name!r} in the file, whose names are of ASCII letters and digits"
            )
            stack.callback(setattr, layer, "name", layer.name)
            layer.name = new_name
        for weight in model.variables:
            variable = weight._value  # `value` may be a cast of it
            name = getattr(variable, "_handle_name", "")  # by which a SavedModel calls it
            new_name = "/".join(map(graph_name, name.removesuffix(":0").split("/"))) + ":0"
            if name and new_name != name:
                stack.callback(setattr, variable, "_handle_name", name)
                variable._handle_name = new_name
        yield notes


def graph_name(name: str) -> str:
    """Returns a name that TensorFlow's graphs and signatures can hold; a valid name stays as it is."""
    valid = re.sub(r"[^A-Za-z0-9_.>-]", "_", name)
    return valid if re.match(r"[A-Za-z0-9]", valid) else f"layer{valid}"


def stateful_layers(model: keras.Model) -> list[keras.layers.RNN]:
    """Returns the recurrent layers that keep their state from call to call."""
    return [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN) and layer.stateful]


def _start_from_zero(model: keras.Model) -> None:
    for state in keras.tree.flatten([layer.states for layer in stateful_layers(model)]):
        state.assign(keras.ops.zeros_like(state))


# Held while a model is traced: tracing changes settings of layers and functions of Keras for the whole process.
TRACING_LOCK = threading.RLock()


@contextmanager
def silenced() -> Iterator[None]:
    """Context manager that silences warnings, logs and native output of converters and runtimes."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    failure = None
    with warnings.catch_warnings(), quiet_stderr() as output:
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        except Exception as error:  # raised after quiet_stderr, which would print the output of a failed block
            failure = error
            if not str(error):  # the compiler has printed its reason
                error.args = (output(),)
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
    if failure is not None:
        raise failure


def nodes_of(graph: tf.Graph) -> list:
    """Returns the nodes of a graph, those of its functions included."""
    content = graph.as_graph_def()
    return [*content.node, *(node for function in content.library.function for node in function.node_def)]


def layer_of(model: keras.Model, node: str) -> str | None:
    """Returns the innermost layer of a model in whose name scope a graph node or tensor is, or None."""
    parts = node.partition(";")[0].split("/")  # TFLite joins the names of fused nodes by semicolons
    if parts[0] != model.name:  # then TensorFlow made each scope unique by a number at its end
        parts = [re.sub(r"_\d+$", "", part) for part in parts]
    names = set(_listed(model))
    return next((part for part in reversed(parts) if part in names), None)


def layer_in_words(model: keras.Model, node: str) -> str:
    """Returns the layer of a graph node in words, for a message."""
    layer = layer_of(model, node)
    return f"layer {layer!r}" if layer else "a function outside any layer"


def in_batches(
    size: int | None, arrays: dict[str, np.ndarray], run: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Runs examples in batches of `size` (None: all at once) and joins the named outputs."""
    count = len(next(iter(arrays.values())))
    starts = range(0, count, size or count)
    parts = [run({name: array[start : start + (size or count)] for name, array in arrays.items()}) for start in starts]
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}


def _call(model: keras.Model, values: list) -> list[Any]:
    return keras.tree.flatten(model(keras.tree.pack_sequence_as(structure(model), values), training=False))


def _untraceable(model: keras.Model, error: Exception) -> ExportError:
    """Returns the error of a model that TensorFlow cannot trace, with the name of the layer where the text tells it."""
    if "unroll" in str(error):
        return ExportError(
            "recurrent layers in integers must have a fixed number of time steps; this model leaves it free. "
            "Build it with Input((steps, ...)), or export with quantize='dynamic'."
        )
    scopes = {re.sub(r"_\d+$", "", each) for each in re.findall(r"[^/\s'{}]+(?=/)", str(error))}
    scopes |= set(re.findall(r"[^/\s'{}]+(?=/)", str(error)))
    layer = next((name for name in _listed(model) if graph_name(name) in scopes), None)
    where = f"layer {layer!r}" if layer else repr(model.name)
    return ExportError(
        f"the model must run as a TensorFlow graph, as in predict and in files; {where} does not: {first_line(error)}. "
        "Replace that layer, or give it larger inputs."
    )


def _listed(model: keras.Model) -> Iterator[str]:
    for layer in model.layers:
        yield layer.name
        if isinstance(layer, keras.Model):
            yield from _listed(layer)
