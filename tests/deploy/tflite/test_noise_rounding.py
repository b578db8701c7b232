"""Files of 8-bit weights that are off on random input alone: enough real examples decide."""

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ExportError
from kerasdl.deploy import export_onnx, export_tflite


def net(largest):
    """A net whose outputs are small beside their terms where the inputs differ, as in noise, and large in real ones."""
    net = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, use_bias=False)])
    kernel = np.random.default_rng(0).normal(size=(64, 32)).astype("float32") * 0.03
    kernel[0] = largest  # fills the scale of the 8 bits of a channel: the others round to few levels
    net.layers[-1].set_weights([kernel])
    return net


def real(count):
    """Examples in which the first number counts."""
    examples = np.random.default_rng(1).normal(size=(count, 64)).astype("float32") * 0.1
    examples[:, 0] = 1.0
    return examples


# With the largest number of the kernel: ONNX files have seven bits.
EXPORTS = {"m.tflite": (export_tflite, 4.0), "m.onnx": (export_onnx, 2.0)}


@pytest.mark.parametrize("file", EXPORTS)
def test_enough_real_examples_decide_and_random_input_has_a_wider_bound(file, tmp_path, monkeypatch):
    (export, largest), path = EXPORTS[file], tmp_path / file
    model = net(largest)
    noise = np.random.default_rng(2).normal(size=(8, 64)).astype("float32")
    noise[:, 0] = 0.0
    monkeypatch.setattr("kerasdl.deploy.export.pipeline.random_arrays", lambda inputs, *_: {inputs[0].name: noise})
    report = export(model, path, quantize="dynamic", samples=real(24))
    (random,) = (drift.rmse for drift in report.drifts if drift.inputs == "random")
    assert report.worst_relative < 0.2 < random < 0.5
    assert any("more than 0.2: real input decides" in note for note in report.notes)
    path.unlink()
    for samples, options in ((real(10), {}), (None, {}), (real(24), {"tolerance": 0.2}), (noise.repeat(4, 0), {})):
        with pytest.raises(ExportError, match=r"must stay within 0\.2 of the model"):
            export(model, path, quantize="dynamic", samples=samples, **options)
    assert not path.exists()
