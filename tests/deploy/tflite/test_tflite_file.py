"""The file itself: its signature, what is stored in it, and integers at its door."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from lite import relative_rmse

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import benchmark, export_tflite, run_exported
from kerasdl.deploy.runtimes import read_metadata

METADATA = {
    "labels": ["Katze", "chien", "牛", "hen", "ant"],
    "preprocessing": {"scale": [-1.0, 1.0], "size": [16, 16]},
    "description": "five animals",
}


def weights_offsets(content):
    """Offsets at which the buffers of a file start."""
    model = schema.Model.GetRootAs(content)
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            table = buffer._tab
            yield table.Vector(table.Offset(4))


@pytest.mark.parametrize("quantize", [None, "dynamic", "int8"])
def test_metadata_come_back_and_the_file_runs_as_before(quantize, make, real, tmp_path):
    model = make("conv_bn")
    inputs = real(model)
    export_tflite(model, tmp_path / "plain.tflite", quantize=quantize, representative=inputs)
    export_tflite(model, tmp_path / "stored.tflite", quantize=quantize, representative=inputs, metadata=METADATA)
    tensors = {name: read_metadata(tmp_path / "plain.tflite")[name] for name in ("inputs", "outputs")}
    assert read_metadata(tmp_path / "stored.tflite") == METADATA | tensors
    assert read_metadata(tmp_path / "plain.tflite") == tensors
    plain, stored = (run_exported(tmp_path / f"{name}.tflite", inputs[:4])["head"] for name in ("plain", "stored"))
    np.testing.assert_array_equal(plain, stored)
    assert {offset % 16 for offset in weights_offsets((tmp_path / "stored.tflite").read_bytes())} == {0}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"labels": "cat"}, "must be a list of texts"),
        ({"labels": ["cat", 3]}, "must be a list of texts"),
        ({"mean": np.zeros(3)}, "that JSON can hold"),
        ({"mean": float("nan")}, "that JSON can hold"),
        ({3: "three"}, "a dict by name"),
        (["cat"], "a dict by name"),
    ],
)
def test_metadata_are_checked(metadata, message, make, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        export_tflite(make("sequential"), tmp_path / "m.tflite", metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_metadata_are_read_from_tflite_files_alone(tmp_path):
    (tmp_path / "other.tflite").write_bytes(b"not a model")
    for path in (tmp_path / "other.tflite", tmp_path / "missing.tflite"):
        with pytest.raises(ArgumentError, match="must be a TFLite file"):
            read_metadata(path)


def test_files_of_other_makers_run_too(make, real, tmp_path):
    model = make("conv_bn")
    model.export(str(tmp_path / "saved"), format="tf_saved_model", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    (tmp_path / "other.tflite").write_bytes(converter.convert())
    assert list(Interpreter(str(tmp_path / "other.tflite")).get_signature_list()) == ["serving_default"]
    inputs = real(model)[:4]
    (given,) = run_exported(tmp_path / "other.tflite", inputs).values()
    np.testing.assert_allclose(given, model(inputs), atol=1e-5)
    assert benchmark(tmp_path / "other.tflite", runs=1).median_ms > 0


@pytest.mark.parametrize(("quantize", "dtype", "bound"), [("int8", "int8", 0.08), ("int16x8", "int16", 0.02)])
def test_integers_at_the_door(quantize, dtype, bound, make, real, tmp_path):
    model = make("conv_bn")
    inputs, path = real(model), tmp_path / "m.tflite"
    report = export_tflite(model, path, quantize=quantize, representative=inputs, integer_io=True)
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(report.operations)
    serve = Interpreter(str(path)).get_signature_runner("serve")
    (takes,), (gives,) = serve.get_input_details().values(), serve.get_output_details().values()
    assert (takes["dtype"], gives["dtype"]) == (np.dtype(dtype), np.dtype(dtype))
    (scale, zero), (out_scale, out_zero) = takes["quantization"], gives["quantization"]
    assert any(f"'image' holds {dtype}: value = {scale:.6g} * (integer - {zero})" in note for note in report.notes)
    limits = np.iinfo(dtype)
    integers = np.clip(np.round(inputs[:16] / scale) + zero, limits.min, limits.max).astype(dtype)
    rows = [serve(image=integers[row : row + 1])["head"] for row in range(16)]
    by_hand = (np.concatenate(rows).astype("float32") - out_zero) * out_scale
    assert relative_rmse(model(inputs[:16]), by_hand) < bound
    np.testing.assert_allclose(run_exported(path, inputs[:16])["head"], by_hand, atol=1e-6)
    np.testing.assert_allclose(run_exported(path, integers)["head"], by_hand, atol=1e-6)
    assert benchmark(path, runs=1).median_ms > 0


def test_token_ids_stay_at_the_door(make, real, tmp_path):
    model = make("several")
    inputs = real(model)
    report = export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=inputs, integer_io=True)
    assert report.worst_relative < 0.05
    details = Interpreter(str(tmp_path / "m.tflite")).get_signature_runner("serve").get_input_details()
    assert {name: detail["dtype"] for name, detail in details.items()} == {"tokens": np.int32, "after": np.int8}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"integer_io": True}, "integer_io must be one of"),
        ({"quantize": "dynamic", "selective": "auto"}, "selective must be one of"),
        ({"quantize": "float16", "layer_report": True}, "layer_report must be one of"),
        ({"quantize": "dynamic", "correct_biases": True}, "correct_biases must be one of"),
    ],
)
def test_options_of_int8_are_for_int8(given, message, make, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        export_tflite(make("sequential"), tmp_path / "m.tflite", **given)


def test_a_door_that_stays_in_float_is_refused(tmp_path):
    x = keras.Input((4, 3), name="x")
    model = keras.Model(x, keras.ops.flip(x, axis=1))
    inputs = np.random.default_rng(0).normal(size=(16, 4, 3)).astype("float32")
    with pytest.raises(ExportError, match="integer_io needs inputs and outputs that are integers"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=inputs, integer_io=True)
    assert not list(tmp_path.iterdir())
