"""Running of exported files: what is fed must be what the file takes."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.deploy import export_onnx, export_saved_model, export_tflite, run_exported

L = keras.layers


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    inputs = keras.Input((16, 16, 3), name="image")
    model = keras.Model(inputs, L.Dense(2, name="head")(L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(inputs))))
    export_tflite(model, folder / "net.tflite")
    export_onnx(model, folder / "net.onnx")
    export_saved_model(model, folder / "net")
    return model, [folder / "net.tflite", folder / "net.onnx", folder / "net"]


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 16, 16, 1), (16, 16, 3), (2, 16, 3)])
def test_other_shapes_are_refused_rather_than_resized(shape, files):
    """LiteRT would take images of 8x8 into a net of 16x16."""
    for file in files[1]:
        with pytest.raises(ArgumentError, match=r"'image' of net.* float32 of shape \(B, 16, 16, 3\); got 'float32 \("):
            run_exported(file, np.zeros(shape, "float32"))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "float16"])
def test_other_numbers_are_taken_as_keras_takes_them(dtype, files):
    model, paths = files
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(dtype)
    for file in paths:
        np.testing.assert_allclose(run_exported(file, images)["head"], model(images.astype("float32")), rtol=1e-3)


def test_what_is_no_number_is_refused(files):
    for file in files[1]:
        for given in (np.zeros((2, 16, 16, 3), complex), np.full((2, 16, 16, 3), "a")):
            with pytest.raises(ArgumentError, match="must be float32"):
                run_exported(file, given)
