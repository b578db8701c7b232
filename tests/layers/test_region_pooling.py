"""ROIAlign, MultiScaleROIAlign, ROIPool: equal to their operations, in half precision, through saves and exports."""

import keras
import numpy as np
import pytest

from kerasdl import ops
from kerasdl.core import ArgumentError
from kerasdl.deploy import export_onnx, export_tflite, run_exported
from kerasdl.layers import MultiScaleROIAlign, ROIAlign, ROIPool

RNG = np.random.default_rng(0)
LEVELS = [RNG.normal(size=(2, side, side + 1, 3)).astype("float32") for side in (20, 10)]
BOXES = np.sort(RNG.uniform(-20, 180, (2, 5, 2, 2)), axis=2).reshape(2, 5, 4).astype("float32")
# layer: how it is made, number of levels that it reads, its operation.
CASES = {
    "align": (
        lambda: ROIAlign((2, 3), stride=8, sampling_ratio=3),
        1,
        lambda x, boxes: ops.roi_align(x[0], boxes, (2, 3), stride=8, sampling_ratio=3),
    ),
    "aligned": (
        lambda: ROIAlign(2, stride=8, aligned=True),
        1,
        lambda x, boxes: ops.roi_align(x[0], boxes, (2, 2), stride=8, aligned=True),
    ),
    "pyramid": (
        lambda: MultiScaleROIAlign((2, 3), strides=(8, 16), side=80),
        2,
        lambda x, boxes: ops.pyramid_roi_align(
            x, boxes, (2, 3), strides=(8, 16), levels=ops.roi_levels(boxes, (8, 16), side=80)
        ),
    ),
    "pool": (lambda: ROIPool((2, 3), stride=8), 1, lambda x, boxes: ops.roi_pool(x[0], boxes, (2, 3), stride=8)),
}


def model_of(name, free=False):
    make, count, _ = CASES[name]
    maps = [keras.Input((None, None, 3) if free else each.shape[1:], name=f"level{n}") for n, each in enumerate(LEVELS)]
    entries = [*maps[:count], keras.Input((None if free else 5, 4), name="boxes")]
    return keras.Model(entries, make()(entries)), [*LEVELS[:count], BOXES]


@pytest.mark.parametrize("name", CASES)
def test_layer_is_its_operation_and_survives_a_save(name, tmp_path):
    model, inputs = model_of(name)
    out = np.asarray(model(inputs))
    assert model.output_shape == (None, *out.shape[1:])
    assert np.ptp(out) > 1
    *levels, boxes = inputs
    np.testing.assert_allclose(out, CASES[name][2](levels, boxes), atol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(inputs), out)


def test_sides_and_numbers_of_boxes_may_be_free():
    for name in ("align", "pyramid"):
        model, inputs = model_of(name, free=True)
        assert model.output_shape == (None, None, 2, 3, 3)
        np.testing.assert_allclose(model(inputs), model_of(name)[0](inputs), atol=1e-6)


def test_boxes_keep_their_precision_where_features_are_halves():
    """A box of bfloat16 could not begin at 1001, and features of half precision are read where the box is."""
    box = np.array([[[1001.0, 0.0, 1002.0, 1.0]]], "float32")
    for layer in (ROIAlign(1, stride=1, dtype="mixed_bfloat16"), ROIPool(1, stride=1, dtype="mixed_bfloat16")):
        features = np.zeros((1, 2, 1100, 1), "float32")
        features[:, :, 1001:1003] = 1.0
        out = layer([keras.ops.cast(features, "bfloat16"), box])
        assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"
        assert float(np.asarray(keras.ops.cast(out, "float32")).item()) == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: ROIAlign(0),
        lambda: ROIAlign(stride=0),
        lambda: ROIAlign(sampling_ratio=0),
        lambda: ROIPool(stride=-1),
        lambda: ROIPool()([keras.Input((8, 8, 3)), keras.Input((4,))]),
        lambda: ROIPool()(keras.Input((8, 8, 3))),
        lambda: ROIPool()([keras.Input((None, 8, 3)), keras.Input((5, 4))]),
        lambda: ROIAlign()([keras.Input((8, 8, 3)), keras.Input((5, 3))]),
        lambda: MultiScaleROIAlign(strides=(8, 24)),
        lambda: MultiScaleROIAlign(side=0),
        lambda: MultiScaleROIAlign(strides=(8, 16))([keras.Input((8, 8, 3)), keras.Input((5, 4))]),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ArgumentError, match="must"):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_files_compute_what_the_layer_does(name, tmp_path):
    model, inputs = model_of(name)
    given = dict(zip([each.name for each in model.inputs], inputs, strict=True))
    for write, file in ((export_tflite, "model.tflite"), (export_onnx, "model.onnx")):
        write(model, tmp_path / file, samples=given)
        [found] = run_exported(tmp_path / file, given).values()
        np.testing.assert_allclose(found, model(inputs), atol=1e-5, err_msg=file)
