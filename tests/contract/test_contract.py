"""Contract of every registered model, from building to learning; the names come from the registry."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import DISTINCT, EXPORTED, NAMES, distinct_name
from tiny_nets import by_groups
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError, get_task

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def _grouped_convolutions():
    with by_groups():
        yield


@pytest.mark.parametrize("name", NAMES)
def test_spec_says_what_it_must(name, net):
    spec = kerasdl.spec(name)
    assert spec.paper.startswith("https://")
    assert spec.summary.endswith(".")
    assert spec.params, "state the exact count in params="
    assert spec.reference, "state where the count comes from in reference="
    assert get_task(spec.task).name == spec.task
    assert net(distinct_name(name)).model.count_params() <= 50_000


@pytest.mark.parametrize("name", NAMES)
def test_full_size_has_the_exact_number_of_weights(name):
    with unallocated():  # counts without allocating
        model = kerasdl.build(name)
    assert model.count_params() == kerasdl.spec(name).params


@pytest.mark.parametrize("name", DISTINCT)
def test_graph_is_flat(name, net):
    for operation in net(name).model.operations:
        assert isinstance(operation, keras.Layer), f"{operation.name} is a bare operation"
        assert not isinstance(operation, (keras.Model, keras.layers.Lambda)), f"{operation.name} is nested"


@pytest.mark.parametrize("name", DISTINCT)
def test_outputs_are_the_golden_ones(name, net):
    """Eight outputs and every layer name, as stored; `make golden` stores them anew."""
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    outputs = net(name).outputs.ravel()[:8]
    np.testing.assert_allclose(outputs, golden["outputs"], rtol=1e-3, atol=1e-5)
    assert np.std(outputs) > 1e-3, "constant outputs prove nothing"
    assert [layer.name for layer in net(name).model.layers] == golden["layers"]


@pytest.mark.parametrize("name", DISTINCT)
def test_forward_is_finite_and_depends_on_the_input(name, net):
    outputs = net(name).outputs
    assert outputs.shape == (4, net(name).model.output_shape[-1])
    assert outputs.dtype == np.float32
    assert np.isfinite(outputs).all()
    assert np.ptp(outputs, axis=0).max() > 1e-3


@pytest.mark.parametrize("name", DISTINCT)
def test_free_sizes(name, net):
    """Nets with free sizes equal the fixed ones, and take another size too."""
    spec, model = net(name).spec, net(name).model
    free = {"image_shape": (None, None, 3)} if "image_shape" in spec.tiny else {"length": None}
    if next(iter(free)) not in spec.tiny:
        pytest.skip("rows of numbers have one size")
    if "transformer" in spec.tags:
        with pytest.raises(ArgumentError, match="known sides"):
            kerasdl.build(name, **{**spec.tiny, **free})
        return
    other = kerasdl.build(name, **{**spec.tiny, **free})
    other.set_weights(model.get_weights())
    np.testing.assert_allclose(other(net(name).inputs, training=False), net(name).outputs, rtol=1e-4, atol=1e-5)
    larger = np.concatenate([net(name).inputs[:1]] * 2, axis=1)
    assert np.isfinite(other(larger, training=False)).all()


@pytest.mark.parametrize("name", DISTINCT)
def test_mixed_precision(name, net):
    reference = net(name)  # in float32, before the policy changes
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kerasdl.build(name, **reference.spec.tiny)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} >= {"bfloat16"}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    model.set_weights(reference.model.get_weights())
    outputs, expected = model(reference.inputs, training=False).numpy(), reference.outputs
    assert outputs.dtype == np.float32
    # bfloat16 keeps 8 bits: a few percent after some layers.
    assert np.abs(outputs - expected).max() < 0.1 * np.abs(expected).max() + 0.05
    assert np.abs(outputs - expected).max() > 0, "nothing was computed in bfloat16"


@pytest.mark.parametrize("name", DISTINCT)
def test_save_and_load(name, net, tmp_path):
    net(name).model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(net(name).inputs, training=False), net(name).outputs)


@pytest.mark.parametrize("name", DISTINCT)
def test_every_weight_gets_a_gradient_and_the_loss_falls(name, net):
    """Three steps of one size against the sign of the gradient, as Adam's first ones."""
    with net(name).untrained() as model:
        loss, weights = get_task(net(name).spec.task).loss(), model.trainable_variables
        values, unreached = [], {weight.path for weight in weights}
        for _ in range(3):
            with tf.GradientTape() as tape:
                value = loss(net(name).targets, model(net(name).inputs, training=True))
            for weight, gradient in zip(weights, tape.gradient(value, [each.value for each in weights]), strict=True):
                assert gradient is not None, f"{weight.path} gets no gradient"
                gradient = tf.convert_to_tensor(gradient)
                assert np.isfinite(gradient).all(), weight.path
                if np.any(gradient):
                    unreached.discard(weight.path)
                weight.assign_sub(3e-3 * tf.sign(gradient))
            values.append(float(value))
        values.append(float(loss(net(name).targets, model(net(name).inputs, training=True))))
    assert values[-1] < values[0], values
    assert not unreached


@pytest.mark.slow
def test_a_saved_model_loads_in_a_process_that_knows_only_kerasdl(net, tmp_path):
    """Saved models load after `import kerasdl` alone, without custom_objects; the cover has all classes."""
    expected = {}
    for name in EXPORTED:
        net(name).model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", net(name).inputs)
        expected[name] = net(name).outputs
    program = (
        "import kerasdl, keras, numpy, pathlib, sys\n"
        "for path in pathlib.Path(sys.argv[1]).glob('*.keras'):\n"
        "    model = keras.models.load_model(path)\n"
        "    outputs = model(numpy.load(path.with_suffix('.npy')), training=False)\n"
        "    numpy.save(path.with_suffix('.out.npy'), outputs)\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name in EXPORTED:
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.out.npy"), expected[name], rtol=1e-5, atol=1e-6)
