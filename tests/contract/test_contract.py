"""What every registered model must do, from building to learning. Nobody escapes: the names come from the registry."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import DISTINCT, NAMES
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError, get_task

GOLDEN = Path(__file__).parents[1] / "golden"


def example(name, model, batch=4, seed=0):
    return get_task(kerasdl.spec(name).task).example(model, batch, seed)


@pytest.mark.parametrize("name", NAMES)
def test_spec_says_what_it_must(name):
    spec = kerasdl.spec(name)
    assert spec.paper.startswith("https://")
    assert spec.summary.endswith(".")
    assert spec.params, "state the exact count in params="
    assert spec.reference, "state where the count comes from in reference="
    assert get_task(spec.task).name == spec.task
    assert kerasdl.build(name, **spec.tiny).count_params() <= 50_000


@pytest.mark.parametrize("name", NAMES)
def test_full_size_has_the_exact_number_of_weights(name):
    with unallocated():  # counts without allocating
        model = kerasdl.build(name)
    assert model.count_params() == kerasdl.spec(name).params


@pytest.mark.parametrize("name", DISTINCT)
def test_graph_is_flat(name, tiny):
    for operation in tiny(name).operations:
        assert isinstance(operation, keras.Layer), f"{operation.name} is a bare operation"
        assert not isinstance(operation, (keras.Model, keras.layers.Lambda)), f"{operation.name} is nested"


@pytest.mark.parametrize("name", DISTINCT)
def test_outputs_are_the_golden_ones(name, tiny):
    """Eight outputs and every layer name, as stored; `make golden` stores them anew."""
    model = tiny(name)
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    inputs, _ = example(name, model)
    outputs = model(inputs, training=False).numpy().ravel()[:8]
    np.testing.assert_allclose(outputs, golden["outputs"], rtol=1e-3, atol=1e-5)
    assert np.std(outputs) > 1e-3, "constant outputs prove nothing"
    assert [layer.name for layer in model.layers] == golden["layers"]


@pytest.mark.parametrize("name", DISTINCT)
def test_forward_is_finite_and_depends_on_the_input(name, tiny):
    model = tiny(name)
    inputs, _ = example(name, model)
    outputs = model(inputs, training=False).numpy()
    assert outputs.shape == (4, model.output_shape[-1])
    assert outputs.dtype == np.float32
    assert np.isfinite(outputs).all()
    assert np.ptp(outputs, axis=0).max() > 1e-3


@pytest.mark.parametrize("name", DISTINCT)
def test_free_sizes(name, tiny):
    """Where a size may be None, the free net equals the fixed one and takes another size too."""
    spec, model = kerasdl.spec(name), tiny(name)
    free = {"image_shape": (None, None, 3)} if "image_shape" in spec.tiny else {"length": None}
    if next(iter(free)) not in spec.tiny:
        pytest.skip("rows of numbers have one size")
    if "transformer" in spec.tags:
        with pytest.raises(ArgumentError, match="known sides"):
            kerasdl.build(name, **{**spec.tiny, **free})
        return
    other = kerasdl.build(name, **{**spec.tiny, **free})
    other.set_weights(model.get_weights())
    inputs, _ = example(name, model)
    np.testing.assert_allclose(other(inputs, training=False), model(inputs, training=False), rtol=1e-4, atol=1e-5)
    larger = np.concatenate([inputs, inputs], axis=1)
    assert np.isfinite(other(larger, training=False)).all()


@pytest.mark.parametrize("name", DISTINCT)
def test_mixed_precision(name, tiny):
    reference = tiny(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kerasdl.build(name, **kerasdl.spec(name).tiny)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} >= {"bfloat16"}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    model.set_weights(reference.get_weights())
    inputs, _ = example(name, model)
    outputs, expected = model(inputs, training=False).numpy(), reference(inputs, training=False).numpy()
    assert outputs.dtype == np.float32
    # bfloat16 keeps 8 bits: a few percent after some layers.
    assert np.abs(outputs - expected).max() < 0.1 * np.abs(expected).max() + 0.05
    assert np.abs(outputs - expected).max() > 0, "nothing was computed in bfloat16"


@pytest.mark.parametrize("name", DISTINCT)
def test_save_and_load(name, tiny, tmp_path):
    model = tiny(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs, _ = example(name, model)
    np.testing.assert_array_equal(loaded(inputs, training=False), model(inputs, training=False))


@pytest.mark.parametrize("name", DISTINCT)
def test_every_weight_gets_a_gradient_and_the_loss_falls(name):
    model = kerasdl.build(name, **kerasdl.spec(name).tiny)
    inputs, targets = example(name, model, batch=8)
    loss, optimizer = get_task(kerasdl.spec(name).task).loss(), keras.optimizers.Adam(3e-3)
    values, reached = [], {}
    for _ in range(6):
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))
        gradients = tape.gradient(value, [weight.value for weight in model.trainable_variables])
        for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, f"{weight.path} gets no gradient"
            assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.path
            reached[weight.path] = reached.get(weight.path, False) or bool(np.any(tf.convert_to_tensor(gradient)))
        optimizer.apply(gradients, model.trainable_variables)
        values.append(float(value))
    assert values[-1] < values[0], values
    assert all(reached.values()), [path for path, was in reached.items() if not was]


@pytest.mark.slow
def test_a_saved_model_loads_in_a_process_that_knows_only_kerasdl(tiny, tmp_path):
    """What is loaded by `import kerasdl` alone: no custom_objects, no building of ours before."""
    expected = {}
    for name in DISTINCT:
        inputs, _ = example(name, tiny(name))
        tiny(name).save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", inputs)
        expected[name] = tiny(name)(inputs, training=False).numpy()
    program = (
        "import kerasdl, keras, numpy, pathlib, sys\n"
        "for path in pathlib.Path(sys.argv[1]).glob('*.keras'):\n"
        "    model = keras.models.load_model(path)\n"
        "    outputs = model(numpy.load(path.with_suffix('.npy')), training=False)\n"
        "    numpy.save(path.with_suffix('.out.npy'), outputs)\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name in DISTINCT:
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.out.npy"), expected[name], rtol=1e-5, atol=1e-6)
