"""Selective quantization: the layers that lose most by integers, and those kept in float."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from lite import relative_rmse, run_lite

from kerasdl.core.errors import ExportError
from kerasdl.deploy import export_tflite
from kerasdl.deploy.tflite.flatbuffer import operators

L = keras.layers
LOUD = 2000.0


def outlier():
    """Eight convolutions; one channel of the third is so loud that the others vanish on a grid of 256 steps."""
    x = image = keras.Input((10, 10, 3), name="image")
    for index in range(8):
        x = L.Conv2D(8, 3, padding="same", activation="relu" if index != 2 else None, name=f"conv{index}")(x)
    model = fill_weights(keras.Model(image, L.Dense(5, name="head")(L.GlobalAveragePooling2D(name="mean")(x))))
    loud, after = model.get_layer("conv2"), model.get_layer("conv3")
    loud.kernel.assign(loud.kernel * np.where(np.arange(8) == 0, LOUD, 1.0).astype("float32"))
    after.kernel.assign(after.kernel / np.where(np.arange(8) == 0, LOUD, 1.0).astype("float32")[:, None])
    return model


def images():
    return np.random.default_rng(0).normal(size=(48, 10, 10, 3)).astype("float32")


def test_the_report_names_the_layers_that_suffer(tmp_path):
    report = export_tflite(
        outlier(), tmp_path / "m.tflite", quantize="int8", representative=images(), layer_report=True, tolerance=9
    )
    errors = {row.layer: row.error for row in report.layers}
    assert {row.layer for row in report.layers[:2]} == {"conv2", "conv3"}
    assert min(errors["conv2"], errors["conv3"]) > 0.5
    assert max(errors[name] for name in ("conv0", "conv1")) < 0.05
    assert [row.error for row in report.layers] == sorted(errors.values(), reverse=True)
    assert '"layer": "conv2"' in report.to_json()


def test_a_healthy_net_loses_little_anywhere(make, real, tmp_path):
    model = make("conv_bn")
    path = tmp_path / "m.tflite"
    report = export_tflite(model, path, quantize="int8", representative=real(model), layer_report=True)
    assert {"relu0", "relu1", "head"} <= {row.layer for row in report.layers}
    assert report.layers[0].error < 0.1
    assert export_tflite(model, path, quantize="int8", representative=real(model)).layers == ()


@pytest.mark.slow
def test_the_worst_layers_stay_in_float_until_the_drift_is_within_the_bound(tmp_path):
    model, inputs, path = outlier(), images(), tmp_path / "m.tflite"
    with pytest.raises(ExportError, match=r"within 0\.05.*selective='auto'"):
        export_tflite(model, path, quantize="int8", representative=inputs, tolerance=0.05)
    report = export_tflite(model, path, quantize="int8", representative=inputs, tolerance=0.05, selective="auto")
    assert relative_rmse(model(inputs), run_lite(path, {"image": inputs})["head"]) < 0.05
    note = next(note for note in report.notes if "to stay within 0.05" in note)
    assert "conv2" in note or "conv3" in note
    convolutions = [each for each in operators(path.read_bytes()) if each.name == "CONV_2D"]
    assert 1 <= sum(each.is_float for each in convolutions) <= 3
    assert len(convolutions) == 8


def test_nothing_stays_in_float_where_integers_do(make, real, tmp_path):
    model = make("conv_bn")
    report = export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=real(model), selective="auto")
    assert not any("float" in note for note in report.notes)
    plain = export_tflite(model, tmp_path / "n.tflite", quantize="int8", representative=real(model))
    assert (report.bytes, report.operations) == (plain.bytes, plain.operations)


def test_a_bound_below_every_grid_leaves_no_integers(make, real, tmp_path):
    model = make("sequential")
    path = tmp_path / "m.tflite"
    report = export_tflite(model, path, quantize="int8", representative=real(model), selective="auto", tolerance=1e-5)
    assert report.worst_relative <= 1e-5
    assert all(each.is_float for each in operators(path.read_bytes()) if each.name == "FULLY_CONNECTED")
