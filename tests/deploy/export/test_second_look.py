"""Files that drift on ordinary input and are right: the model differs from itself there, or when it is called."""

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ExportError
from kerasdl.deploy import export_onnx, export_tflite, run_exported
from kerasdl.deploy.export import hostile_judgement, second_look

L = keras.layers
EXPORTS = {".onnx": export_onnx, ".tflite": export_tflite}


def steps():
    """Averages whose last place says on which side of a boundary they are, as counts."""
    x = keras.Input((8, 8, 4), name="image")
    average = L.GlobalAveragePooling2D(name="average")(L.Rescaling(0.1, name="scaled")(x))
    return keras.Model(x, L.Discretization([0.1, 0.2], name="steps")(average))


def on_a_boundary():
    x = np.random.default_rng(0).uniform(0, 2, (30, 8, 8, 4)).astype("float32")
    return x / x.mean((1, 2), keepdims=True)  # averages of 1, scaled 0.1


def test_a_step_that_the_last_place_decides_is_left_out(tmp_path):
    report = export_onnx(steps(), tmp_path / "m.onnx", samples=on_a_boundary())  # it sums in another order
    assert report.worst_relative < 1e-4
    assert any("left out of the comparison" in note for note in report.notes)


def test_only_what_the_model_itself_is_off_by_is_left_out():
    expected, notes = np.array([[1.0, 2.0, 3.0, 4.0]]), []
    actual = np.array([[1.0, 3.0, 4.0, 5.0]])
    own = np.array([[0.0, 0.0, 0.05, 0.1]])  # the last moves enough to explain the file's answer
    compared = second_look._without_own_gaps(expected, actual, own, 1e-4, "'out' on real inputs", notes)
    np.testing.assert_array_equal(compared, [[1.0, 2.0, 3.0, 5.0]])
    assert notes == [
        "1 of 4 numbers of 'out' on real inputs are left out of the comparison: there the model itself is off by up to "
        "0.1 in 64 bits or where the last place moves"
    ]


@pytest.mark.parametrize("suffix", EXPORTS)
def test_a_step_that_the_last_place_does_not_decide_is_refused(suffix, tmp_path, monkeypatch):
    x = np.random.default_rng(0).uniform(0, 3, (30, 8, 8, 4)).astype("float32")
    runner = "kerasdl.deploy.onnx.exporter.run_file" if suffix == ".onnx" else "kerasdl.deploy.tflite.runtime.run_file"
    monkeypatch.setattr(runner, lambda path, arrays, batch=None: {"steps": np.full((len(arrays["image"]), 4), 2)})
    with pytest.raises(ExportError, match="output 'steps' differs by"):
        EXPORTS[suffix](steps(), tmp_path / f"m{suffix}", samples=x)


@pytest.mark.parametrize("suffix", EXPORTS)
def test_images_of_bytes_are_resized_as_predict_does(suffix, tmp_path):
    x = keras.Input((8, 8, 3), dtype="uint8", name="pixels")
    model = keras.Model(x, L.Resizing(12, 7, name="resized")(x))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype("uint8")
    report = EXPORTS[suffix](model, tmp_path / f"m{suffix}", samples=pixels)
    assert any("model(x) and model.predict(x) differ" in note for note in report.notes)
    (actual,) = run_exported(tmp_path / f"m{suffix}", pixels).values()
    np.testing.assert_allclose(actual, model.predict(pixels, verbose=0), atol=1e-3)


def test_layers_that_read_their_weights_bare_answer_in_64_bits_too():
    x = keras.Input((3,), name="x")
    model = keras.Model(x, L.PReLU(alpha_initializer=keras.initializers.Constant(0.1), name="prelu")(x))
    with hostile_judgement._in_64_bits(model):
        actual = model(np.array([[-1.0, 0.5, -3.0]], "float32"))
    assert actual.dtype == "float64"
    np.testing.assert_allclose(actual, [[-np.float32(0.1), 0.5, -3.0 * np.float64(np.float32(0.1))]], rtol=1e-15)
    assert model(np.ones((1, 3), "float32")).dtype == "float32"
