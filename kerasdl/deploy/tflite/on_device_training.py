"""On-device training: TFLite files with signatures to serve, train, save and restore, of built-in operations only."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src import backend

from kerasdl.core import checks
from kerasdl.core.errors import ExportError
from kerasdl.core.keras_graph import is_graph
from kerasdl.losses import SmoothedCrossEntropy

from ..export.parity import ExportReport
from ..export.pipeline import Target, export
from ..export.tracing import Program, first_line, graph_name, silenced
from ..formulas.patching import replaced_functions
from ..samples.model_inputs import NamedInput, random_arrays, structure
from ..samples.sampling import samples_of
from . import flatbuffer, runtime
from .converter import converter_of
from .gradient_ops import convertible_gradients, refuse_foreign_gradients

TARGET = "target"
CHECKED_STEPS = 3


def export_trainable_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    loss: str | keras.losses.Loss | None = None,
    learning_rate: float = 0.01,
    batch_size: int = 8,
    samples: Any = None,
    tolerance: float = 1e-4,
    metadata: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Writes a float32 TFLite file for inference and training on the device, and compares both with Keras.

    Its signatures: `serve` infers one example; `train` takes the inputs and `target`, `batch_size` of each, makes one
    step of plain gradient descent and returns `loss`; `save` returns the trained weights by name; `restore` takes them.
    Layers compute as in inference while they train: batch norms keep their statistics, dropout is off. Weights of
    frozen layers (`trainable = False`) stay. A new interpreter starts from the weights of the model.

    Args:
        model: a functional or Sequential model with one output and inputs of a fixed size. What is trained may hold
            dense, convolution, pooling, norm, attention and embedding layers; recurrent ones, and transposed, grouped
            and 3-D convolutions, must be frozen.
        path: the file to write, ending in .tflite.
        loss: a Keras loss or its name; sparse categorical cross-entropy of logits if None.
        learning_rate: the length of a step, above 0.
        batch_size: how many examples `train` takes, 1 or more.
        samples: real inputs to compare `serve` on, besides random ones.
        tolerance: bound on max|file - model| over max(1, max|model|), of outputs, losses and trained weights.
        metadata: values to store in the file, as in export_tflite.

    Returns:
        The report of the export.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: an operation of the training step is not in TFLite, or the file does not learn as Keras does.

    Example:
        >>> mlp = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> report = export_trainable_tflite(mlp, "learns.tflite", learning_rate=0.1)
        >>> "train" in report.notes[0]
        True
    """
    if not (isinstance(model, keras.Model) and is_graph(model) and len(model.outputs) == 1):
        checks.refuse("a model that trains on a phone must be functional and have one output", type(model).__name__)
    if any(tensor.name == TARGET for tensor in model.inputs):
        checks.refuse(f"an input of a model that trains on a phone must not be called {TARGET!r}", model.name)
    if not model.trainable_variables:
        checks.refuse("a model that trains on a phone must have a trainable weight", model.name)
    if not checks.within("learning_rate", learning_rate, 0, float("inf")):
        checks.refuse("learning_rate must be above 0", learning_rate)
    checks.at_least("batch_size", batch_size, 1)
    if any(None in tensor.shape[1:] for tensor in model.inputs):
        checks.refuse(
            "a model that trains on a phone must have inputs of a fixed size",
            [tensor.shape for tensor in model.inputs],
            "Build it with all dimensions but the batch given.",
        )
    flatbuffer.checked_metadata(metadata)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if loss is None else keras.losses.get(loss)
    step = _Step(model, loss, float(learning_rate), batch_size)
    target = Target(
        format="tflite float32, trainable",
        suffix=".tflite",
        measure="relative",
        tolerance=1e-4,
        remedy="Look for layers that keep state between calls or ignore training=False.",
        write=partial(_write, step=step, metadata=metadata, tolerance=tolerance),
        run=runtime.run_file,
        inspect=lambda file: (flatbuffer.count_operations(file), ()),
        file_tensors=flatbuffer.file_tensors,
        notes=(f"signatures serve, train (batches of {batch_size}), save and restore",),
    )
    return export(model, path, target, samples_of(model, samples), tolerance)


class _Step:
    """One step of gradient descent on a model."""

    def __init__(self, model: keras.Model, loss: Any, learning_rate: float, batch_size: int):
        self.model, self.loss, self.learning_rate, self.batch_size = model, loss, learning_rate, batch_size
        names = [
            re.sub(r"\W", "_", graph_name(variable.path.replace("/", "_"))) for variable in model.trainable_variables
        ]
        self.names = [name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)]
        shape = (batch_size, *model.outputs[0].shape[1:])
        name = getattr(loss, "name", getattr(loss, "__name__", ""))
        sparse = isinstance(loss, SmoothedCrossEntropy) or "sparse" in name
        self.classes = shape[-1] if sparse else None
        self.target = tf.TensorSpec(shape[:-1] if sparse else shape, tf.int32 if sparse else tf.float32, TARGET)

    @property
    def variables(self) -> list[tf.Variable]:
        return [variable.value for variable in self.model.trainable_variables]

    def value(self, inputs: list[tf.Tensor], target: tf.Tensor) -> tf.Tensor:
        outputs = self.model(keras.tree.pack_sequence_as(structure(self.model), inputs), training=False)
        return tf.reduce_mean(self.loss(target, keras.tree.flatten(outputs)[0]))

    def examples(self, inputs: tuple[NamedInput, ...]) -> dict[str, np.ndarray]:
        """Returns one random batch, its targets included."""
        arrays = random_arrays(inputs, self.batch_size, {})
        rng = np.random.default_rng(1)
        shape = tuple(self.target.shape)
        target = rng.normal(size=shape) if self.classes is None else rng.integers(0, self.classes, shape)
        return arrays | {TARGET: target.astype(self.target.dtype.as_numpy_dtype)}

    def in_keras(self, arrays: dict[str, np.ndarray]) -> tuple[list[float], list[np.ndarray]]:
        """Returns the losses and weights of a few steps in Keras; the model gets its own weights back."""
        before = [variable.numpy() for variable in self.variables]
        *inputs, target = (tf.constant(array) for array in arrays.values())
        losses = []
        try:
            with tf.device("/cpu:0"):
                for _ in range(CHECKED_STEPS):
                    with tf.GradientTape() as tape:
                        value = self.value(inputs, target)
                    losses.append(float(value))
                    for variable, gradient in zip(self.variables, tape.gradient(value, self.variables), strict=True):
                        if gradient is not None:
                            variable.assign_sub(self.learning_rate * tf.convert_to_tensor(gradient))
            return losses, [variable.numpy() for variable in self.variables]
        finally:
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(value)


def _write(program: Program, path: Path, step: _Step, metadata: Any, tolerance: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with silenced():
                module, signatures = _module(program, step)
                refuse_foreign_gradients(signatures["train"].graph)
                options = tf.saved_model.SaveOptions(
                    experimental_custom_gradients=False
                )  # our gradients are in the graph
                tf.saved_model.save(module, folder, signatures=signatures, options=options)
                content = converter_of(Path(folder), signatures).convert()
        except (ExportError, OSError):
            raise
        except Exception as error:
            lacking = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
            why = f"TFLite lacks {', '.join(lacking)}" if lacking else first_line(error)
            raise ExportError(
                f"the training step of a model must convert to TFLite; {why}. Use other activations there (relu, tanh, "
                "silu, approximate gelu), or freeze the layers before (trainable = False) to train the last ones alone."
            ) from error
    path.write_bytes(flatbuffer.with_metadata(content, metadata))
    _check(path, program, step, tolerance)


def _module(program: Program, step: _Step) -> tuple[tf.Module, dict[str, Any]]:
    module = tf.Module()
    module.all_variables = [variable.value for variable in program.model.variables]
    specs = {
        name: tf.TensorSpec((step.batch_size, *spec.shape[1:]), spec.dtype, name)
        for name, spec in program.specs(step.batch_size).items()
    }

    def train(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        with convertible_gradients(tf.compat.v1.get_default_graph()), replaced_functions(backend.nn, gelu=_gelu):
            loss = step.value([tensors[each.name] for each in program.inputs], tensors[TARGET])
        gradients = tf.gradients(loss, step.variables)
        for variable, gradient in zip(step.variables, gradients, strict=True):
            if gradient is not None:
                variable.assign_sub(step.learning_rate * tf.convert_to_tensor(gradient))
        return {"loss": loss}

    def save() -> dict[str, tf.Tensor]:
        return {name: variable.read_value() for name, variable in zip(step.names, step.variables, strict=True)}

    def restore(**weights: tf.Tensor) -> dict[str, tf.Tensor]:
        for name, variable in zip(step.names, step.variables, strict=True):
            variable.assign(weights[name])
        return {"restored": tf.constant(len(step.names))}

    weights = {
        name: tf.TensorSpec(variable.shape, variable.dtype, name)
        for name, variable in zip(step.names, step.variables, strict=True)
    }
    return module, {
        runtime.SIGNATURE: program.traced(1).get_concrete_function(**program.specs(1)),
        "train": tf.function(train, autograph=False).get_concrete_function(**specs, **{TARGET: step.target}),
        "save": tf.function(save, autograph=False).get_concrete_function(),
        "restore": tf.function(restore, autograph=False).get_concrete_function(**weights),
    }


def _gelu(usual: Callable, x: tf.Tensor, approximate: bool = True) -> tf.Tensor:
    """GELU with the error function by Abramowitz and Stegun's 7.1.26, within 1.5e-7: TFLite has no gradient of erf."""
    if approximate:
        return usual(x, True)
    size = tf.abs(x) * np.float32(np.sqrt(0.5))
    part, series = 1.0 / (1.0 + 0.3275911 * size), 0.0
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + factor) * part
    return 0.5 * x * (1.0 + tf.sign(x) * (1.0 - series * tf.exp(-size * size)))


def _check(path: Path, program: Program, step: _Step, tolerance: float) -> None:
    """Raises ExportError unless a few training steps of the file, and its restore, agree with Keras."""
    arrays = step.examples(program.inputs)
    losses, weights = step.in_keras(arrays)
    with silenced():
        interpreter = runtime.opened(path)
        train, save, restore = (interpreter.get_signature_runner(name) for name in ("train", "save", "restore"))
        first = {name: np.array(value) for name, value in save().items()}
        actual = [float(train(**arrays)["loss"]) for _ in range(CHECKED_STEPS)]
        after = {name: np.array(value) for name, value in save().items()}
        restore(**first)
        again = float(train(**arrays)["loss"])
    pairs = [("the loss", np.array(losses), np.array(actual)), ("the loss after restore", losses[0], again)]
    pairs += [(name, weight, after[name]) for name, weight in zip(step.names, weights, strict=True)]
    for name, expected, value in pairs:
        gap = np.abs(np.asarray(expected) - value).max() / max(1.0, np.abs(expected).max())
        if not gap <= tolerance:
            raise ExportError(
                f"a trainable file must learn as Keras does, within {tolerance:g}; {name} differs by {gap:.3g} after "
                f"{CHECKED_STEPS} steps. Look for layers that are random, or lower the learning rate."
            )
