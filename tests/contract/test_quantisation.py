"""Every net of the cover crosses the bridge to tf_keras, and quantises as far as its spec says."""

import numpy as np
import pytest
from cases import EXPORTED
from precision import heavy

import kerasdl
from kerasdl.core import get_task
from kerasdl.deploy import quantize_aware
from kerasdl.deploy.keras2.bridge import bridge


def example(name, model):
    return get_task(kerasdl.spec(name).task).example(model, 64, 0)


@pytest.mark.parametrize("name", EXPORTED)
def test_bridge_gives_the_same_outputs(name, net):
    """Split into single operations, and back, in tests/deploy/keras2/test_legacy_models.py."""
    model = net(name).model
    inputs, _ = example(name, model)
    expected = model(inputs, training=False).numpy()
    given = bridge(model).model(inputs, training=False).numpy()
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_quantises_as_far_as_its_spec_says(name, net, tmp_path):
    model = net(name).model
    inputs, targets = example(name, model)
    quantized = quantize_aware(model, (inputs, targets), epochs=0)
    expected, given = model.predict(inputs, verbose=0), quantized.predict(inputs)
    assert np.sqrt(np.mean((given - expected) ** 2) / np.mean(expected**2)) < 0.1
    report = quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    assert next(drift for drift in report.drifts if drift.inputs == "real").rmse < 0.05
    integers, floats = heavy(tmp_path / "net.tflite")
    tier = "none" if not integers else "partial" if floats else "full"
    assert tier == kerasdl.spec(name).qat
