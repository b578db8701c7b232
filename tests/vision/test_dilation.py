"""Backbones with dilation in place of stride: values of the strided net at its places, and places between them."""

import keras
import numpy as np
import pytest
from filling import fill_weights

from kerasdl.core import ArgumentError
from kerasdl.vision.backbones import mobilenet_v2_features, mobilenet_v3_features, resnet_features

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 96, 64, 3)).astype("float32")
STAGES_OF_V2 = ((1, 8, 1, 2), (6, 8, 2, 2), (6, 16, 2, 2), (6, 16, 2, 2))
STAGES_OF_V3 = (
    (3, 16, 16, False, "relu", 1),
    (3, 32, 16, False, "relu", 2),
    (5, 32, 16, True, "relu", 2),
    (5, 48, 24, True, "hard_silu", 1),
    (3, 48, 24, False, "hard_silu", 2),
    (5, 64, 24, True, "hard_silu", 2),  # of as many channels, and yet without a shortcut around its stride
    (5, 64, 24, True, "hard_silu", 1),
)


def maps_of(features, **settings):
    image = keras.Input((96, 64, 3))
    model = fill_weights(keras.Model(image, features(image, **settings)))
    return {name: np.asarray(value) for name, value in model(IMAGES, training=False).items()}, model


@pytest.mark.parametrize("form", [{}, {"bottleneck": False}, {"keras_form": True}], ids=str)
def test_places_of_the_strided_resnet_have_its_values(form):
    settings = {"stages": (1, 2, 1, 2), "channels": 8, **form}
    strided, model = maps_of(resnet_features, **settings)
    for stride, step in ((8, 4), (16, 2))[: 1 + (not form)]:
        dilated, other = maps_of(resnet_features, output_stride=stride, **settings)
        assert other.count_params() == model.count_params()
        assert dilated["stride32"].shape[1:3] == (96 // stride, 64 // stride)
        for name, value in strided.items():
            every = dilated[name].shape[1] // value.shape[1]
            np.testing.assert_allclose(dilated[name][:, ::every, ::every], value, rtol=1e-4, atol=1e-5)
        assert every == step


def test_places_of_the_strided_mobilenet_v2_have_its_values():
    strided, _ = maps_of(mobilenet_v2_features, stages=STAGES_OF_V2)
    dilated, _ = maps_of(mobilenet_v2_features, stages=STAGES_OF_V2, output_stride=16)
    assert dilated["stride32"].shape[1:3] == (6, 4)
    # "same" starts a step of 2 at the second pixel of an even side.
    np.testing.assert_allclose(dilated["stride32"][:, 1::2, 1::2], strided["stride32"], rtol=1e-4, atol=1e-5)


def test_mobilenet_v3_gives_first_maps_and_dilates_the_block_that_had_the_stride():
    strided, _ = maps_of(mobilenet_v3_features, stages=STAGES_OF_V3, padding="symmetric")
    first, model = maps_of(
        mobilenet_v3_features, stages=STAGES_OF_V3, padding="symmetric", first=True, output_stride=16
    )
    outputs = {name: model.output[name] for name in ("stride2", "stride8", "stride32")}
    layers = {name: tensor._keras_history.operation.name for name, tensor in outputs.items()}
    assert layers == {"stride2": "stem_hard_silu", "stride8": "block3_project_bn", "stride32": "block7_add"}
    assert {model.get_layer(f"block{block}_depthwise_conv").dilation_rate for block in (6, 7)} == {(2, 2)}
    assert not [layer for layer in model.layers if layer.name == "block6_add"]
    assert first["stride32"].shape[1:3] == first["stride16"].shape[1:3] == (6, 4)
    np.testing.assert_allclose(first["stride16"], strided["stride16"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", [resnet_features, mobilenet_v2_features, mobilenet_v3_features])
def test_other_output_strides_are_refused(features):
    with pytest.raises(ArgumentError, match=r"output_stride must be one of \(8, 16, 32\); got 4"):
        features(keras.Input((64, 64, 3)), output_stride=4)


def test_maps_both_expanded_and_first_are_refused():
    with pytest.raises(ArgumentError, match="either expanded or the first"):
        mobilenet_v3_features(keras.Input((64, 64, 3)), expanded=True, first=True)
