"""Rows of the contract as functions of a tiny net: what every model must do, of whatever inputs, outputs and task."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import export_as
from precision import heavy
from tiny_nets import Net, fed, leaves
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError, ExportError, Task, get_task
from kerasdl.data import as_dataset
from kerasdl.data.trees import unpacked
from kerasdl.deploy import quantize_aware
from kerasdl.deploy.keras2.bridge import bridge
from kerasdl.train.trainer import has_own_train_step

FEW = 8  # outputs that a golden file holds of each output
SAMPLES = 164  # a quarter of them, held back from calibration, judges
# Tighter than the exporter's defaults, which leave room for the depth of full-size nets.
TINY_BOUNDS = {"float16": 1e-2, "dynamic": 0.05, "int8": 0.1, "int16x8": 0.05}
STEPS, STEP = 3, 3e-3


def check_spec(spec: kerasdl.ModelSpec, net: Net) -> None:
    """Paper, count and its source, task, partners and a tiny preset within its limit stand in the spec."""
    assert spec.paper.startswith("https://")
    assert spec.summary.endswith(".")
    assert spec.params, "state the exact count in params="
    assert spec.reference, "state where the count comes from in reference="
    task = get_task(spec.task)
    assert task.name == spec.task
    assert task.summary, "a card says what a model of the task does"
    assert task.limits.endswith("."), "a card says what a model of the task does not do"
    assert net.model.count_params() <= spec.tiny_limit
    for partner in spec.partners.values():
        assert kerasdl.spec(partner).task == "network"


def check_count(spec: kerasdl.ModelSpec) -> None:
    """The full-size net has exactly the stated weights."""
    with unallocated():  # counts without allocating
        model = kerasdl.build(spec.name)
    assert model.count_params() == spec.params


def check_flat(net: Net) -> None:
    """Every operation is a layer, none a model or a Lambda."""
    for operation in net.model.operations:
        assert isinstance(operation, keras.Layer), f"{operation.name} is a bare operation"
        assert not isinstance(operation, (keras.Model, keras.layers.Lambda)), f"{operation.name} is nested"


def golden_of(net: Net) -> dict[str, Any]:
    """Returns what a golden file holds: eight numbers of each output, and every layer name."""
    numbers = np.concatenate([leaf.ravel()[:FEW] for leaf in leaves(net.outputs)])
    return {"outputs": [float(f"{each:.7g}") for each in numbers], "layers": [layer.name for layer in net.model.layers]}


def check_golden(net: Net, golden: dict[str, Any]) -> None:
    """Outputs on filled weights, and layer names, are those that are stored."""
    found = golden_of(net)
    np.testing.assert_allclose(found["outputs"], golden["outputs"], rtol=1e-3, atol=1e-5)
    for leaf in leaves(net.outputs):
        assert np.std(leaf.ravel()[:FEW]) > 1e-3, "constant outputs prove nothing"
    assert found["layers"] == golden["layers"]


def check_forward(net: Net) -> None:
    """Outputs have the shapes that the graph says, in float32; they are finite and depend on the input."""
    specs = keras.tree.map_structure(lambda leaf: keras.KerasTensor(leaf.shape, leaf.dtype), net.inputs)
    said = keras.tree.flatten(net.model.compute_output_spec(specs))
    assert len(leaves(net.outputs)) == len(said) == len(net.model.outputs)
    for leaf, spec in zip(leaves(net.outputs), said, strict=True):
        assert leaf.shape == tuple(spec.shape)
        assert len(leaf) == 4
        assert leaf.dtype == np.float32
        assert np.isfinite(leaf).all()
        assert np.ptp(leaf, axis=0).max() > 1e-3


def check_free_sizes(net: Net) -> None:
    """Where a size may be None, the free net equals the fixed one and takes another size too; else None is refused."""
    spec, model = net.spec, net.model
    if not spec.free:
        if "image_shape" not in spec.tiny:
            pytest.skip("the spec names no argument that leaves a size free")
        with pytest.raises(ArgumentError, match="known sides"):
            kerasdl.build(spec.name, **{**spec.tiny, "image_shape": (None, None, 3)})
        return
    other = kerasdl.build(spec.name, **{**spec.tiny, **spec.free})
    for layer in other.layers:  # by name: a layer that resizes to another's sides changes the order
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    for leaf, expected in zip(leaves(other(net.inputs, training=False)), leaves(net.outputs), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5)
    assert any(None in tensor.shape[1:] for tensor in other.inputs), "the arguments of free= leave no size open"
    for leaf in leaves(other(keras.tree.map_structure(_twice_as_large, other.input, net.inputs), training=False)):
        assert np.isfinite(leaf).all()


def _twice_as_large(tensor: keras.KerasTensor, values: np.ndarray) -> np.ndarray:
    """Returns one example, twice along the first size that is free."""
    free = [axis for axis, size in enumerate(tensor.shape) if size is None and axis]
    return np.concatenate([values[:1]] * 2, axis=free[0]) if free else values[:1]


def check_mixed_precision(net: Net) -> None:
    """Computes in bfloat16, keeps variables and outputs in float32; `net` was built under float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kerasdl.build(net.spec.name, **net.spec.tiny)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} >= {"bfloat16"}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    model.set_weights(net.model.get_weights())
    gaps = []
    for leaf, expected in zip(leaves(model(net.inputs, training=False)), leaves(net.outputs), strict=True):
        assert leaf.dtype == np.float32
        # bfloat16 keeps 8 bits: a few percent after some layers.
        gaps.append(np.abs(leaf - expected).max())
        assert gaps[-1] < 0.1 * np.abs(expected).max() + 0.05
    assert max(gaps) > 0, "nothing was computed in bfloat16"


def check_saving(net: Net, folder: Path) -> None:
    """A saved model loads without `custom_objects` and gives equal outputs."""
    net.model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    for leaf, expected in zip(leaves(loaded(net.inputs, training=False)), leaves(net.outputs), strict=True):
        np.testing.assert_array_equal(leaf, expected)


def check_learning(net: Net) -> None:
    """Every trainable weight gets a finite gradient and the loss falls, of a net alone or under its task's trainer."""
    task = get_task(net.spec.task)
    with net.untrained() as model:
        if task.trainer is None:
            _check_descent(_objective(task, net), model.trainable_variables, set(net.spec.unreached))
            return
        parts = {role: kerasdl.spec(name) for role, name in net.spec.partners.items()}
        partners = {role: kerasdl.build(part.name, **{**part.tiny, **part.free}) for role, part in parts.items()}
        trainer = task.trainer({"model": model, **partners})
        drawn = task.trainer_example(model, 4, 0) if task.trainer_example else task.example(model, 4, 0)
        batch = next(iter(as_dataset(drawn).batches(4)))
        if has_own_train_step(trainer):
            _check_steps(trainer, batch)
        else:
            trainer.compile(loss=task.loss() if trainer.takes_loss else None)
            x, y, weights = unpacked(batch)
            _check_descent(
                lambda: trainer.compute_loss(x, y, trainer(x, training=True), weights, training=True),
                trainer.trainable_variables,
                set(net.spec.unreached),
            )


def _objective(task: Task, net: Net) -> Callable[[], tf.Tensor]:
    """Returns the loss of a task over a net; of a task without one the distance from what its example draws."""
    loss = task.loss()
    if loss is None:
        apart = keras.losses.MeanSquaredError()
        return lambda: tf.add_n(
            keras.tree.flatten(
                keras.tree.map_structure(apart, net.targets, net.model(net.inputs, training=True)),
            )
        )
    return lambda: loss(net.targets, net.model(net.inputs, training=True))


def _check_descent(objective: Callable[[], tf.Tensor], variables: list[keras.Variable], expected: set[str]) -> None:
    """Three steps of one size against the sign of the gradient, as Adam's first ones; it reaches all but `expected`."""
    values, unreached = [], {weight.path for weight in variables}
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            value = objective()
        for weight, gradient in zip(variables, tape.gradient(value, [each.value for each in variables]), strict=True):
            assert gradient is not None, f"{weight.path} gets no gradient"
            gradient = tf.convert_to_tensor(gradient)
            assert np.isfinite(gradient).all(), weight.path
            if np.any(gradient):
                unreached.discard(weight.path)
            weight.assign_sub(STEP * tf.sign(gradient))
        values.append(float(value))
    values.append(float(objective()))
    assert values[-1] < values[0], values
    assert unreached == expected


def _check_steps(trainer: keras.Model, batch: Any) -> None:
    """Steps of a trainer's own change every trainable weight of every network, and their figures are finite.

    Of adversaries no loss need fall in three steps.
    """
    if not trainer.compiled:
        trainer.compile("adam")
    before = [weight.numpy() for weight in trainer.trainable_variables]
    for _ in range(STEPS):
        figures = trainer.train_step(batch)
        assert figures
        assert all(np.isfinite(value) for value in figures.values()), figures
    after = [weight.numpy() for weight in trainer.trainable_variables]
    pairs = zip(trainer.trainable_variables, before, after, strict=True)
    unchanged = [weight.path for weight, old, new in pairs if np.array_equal(old, new)]
    assert not unchanged, unchanged
    assert all(np.isfinite(each).all() for each in after)


def check_export(net: Net, export_format: str, folder: Path) -> None:
    """The file computes what the model does, or the export is refused for the reason in the spec."""
    spec, model = net.spec, net.model
    samples, _ = get_task(spec.task).example(model, SAMPLES, 0)
    if export_format in spec.exports:
        missing = re.search(r"(?<=kernel for )[A-Z_0-9]+", spec.exports[export_format])
        other = "does not convert" if "does not convert" in spec.exports[export_format] else "must stay within"
        with pytest.raises(ExportError, match=missing.group() if missing else other):
            export_as(model, folder, export_format, samples)
        assert not list(folder.iterdir())
        return
    report = export_as(model, folder, export_format, samples)
    assert report.bytes > 0
    assert report.worst_relative <= TINY_BOUNDS.get(export_format, 1e-4)


def check_bridge(net: Net) -> None:
    """The tf_keras model gives the same outputs within 1e-5."""
    inputs = fed(net.model, get_task(net.spec.task).example(net.model, 64, 0)[0])
    expected = leaves(net.model(inputs, training=False))
    for given, right in zip(leaves(bridge(net.model).model(inputs, training=False)), expected, strict=True):
        np.testing.assert_allclose(given, right, rtol=0, atol=1e-5 * max(1, np.abs(right).max()))


def check_quantisation(net: Net, folder: Path) -> None:
    """Quantisation-aware training reaches as far as the spec says, and the file computes what was trained."""
    inputs, targets = get_task(net.spec.task).example(net.model, 64, 0)
    quantized = quantize_aware(net.model, (inputs, targets), epochs=0)
    expected = leaves(net.model.predict(fed(net.model, inputs), verbose=0))
    for given, right in zip(leaves(quantized.predict(inputs)), expected, strict=True):
        assert np.sqrt(np.mean((given - right) ** 2) / np.mean(right**2)) < 0.1
    report = quantized.export_tflite(folder / "net.tflite", samples=inputs)
    assert next(drift for drift in report.drifts if drift.inputs == "real").rmse < 0.05
    integers, floats = heavy(folder / "net.tflite")
    tier = "none" if not integers else "partial" if floats else "full"
    assert tier == net.spec.qat
