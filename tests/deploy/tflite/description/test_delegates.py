"""Operations that the delegates of GPU and Core ML leave to the CPU, for a file of one model and of signatures."""

import keras
import numpy as np
import pytest

from kerasdl.deploy import export_tflite
from kerasdl.deploy.tflite.description.delegates import TAKEN, TAKEN_BY_CORE_ML
from kerasdl.deploy.tflite.flatbuffer import OPERATION_NAMES

L = keras.layers


@pytest.fixture(scope="module")
def models():
    image = keras.Input((8, 8, 3))
    plain = L.Dense(2)(L.Flatten()(L.Conv2D(4, 3, activation="relu")(image)))
    row = keras.Input((6,))
    values, _ = keras.ops.top_k(L.Dense(4)(row), 2)
    return {"plain": keras.Model(image, plain, name="plain"), "sorting": keras.Model(row, values, name="sorting")}


def test_the_operation_of_any_signature_is_named(models, tmp_path):
    assert export_tflite(models["plain"], tmp_path / "plain.tflite").gpu_fallback == ()
    report = export_tflite(models, tmp_path / "both.tflite")
    assert report.gpu_fallback == ("TOPK_V2",)
    assert "GPU delegate: leaves TOPK_V2 to the CPU" in report.to_markdown()
    assert report.core_ml_fallback == ("TOPK_V2",)
    assert "Core ML delegate: leaves TOPK_V2 to the CPU" in report.to_markdown()


def test_core_ml_takes_float_operations_alone(models, tmp_path):
    images = np.random.default_rng(0).normal(size=(24, 8, 8, 3)).astype("float32")
    for quantize in (None, "float16"):
        assert export_tflite(models["plain"], tmp_path / "float.tflite", quantize=quantize).core_ml_fallback == ()
    report = export_tflite(models["plain"], tmp_path / "int8.tflite", quantize="int8", representative=images)
    assert {"CONV_2D", "FULLY_CONNECTED"} <= set(report.core_ml_fallback)


def test_the_list_holds_names_of_operations():
    names = set(OPERATION_NAMES.values()) if isinstance(OPERATION_NAMES, dict) else set(OPERATION_NAMES)
    assert names >= TAKEN | TAKEN_BY_CORE_ML
    assert len(TAKEN) > 80
