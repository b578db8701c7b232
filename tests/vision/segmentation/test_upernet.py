"""UPerNet: the count of segmentation_models, its levels by hand, images of any side, one image by heart."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from two_regions import loss_ratio
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.vision.segmentation.upernet import fused_levels, upernet


def tiny(**more):
    return upernet(**{**kerasdl.spec("upernet").tiny, **more})


def test_count_is_that_of_segmentation_models_less_its_norms_of_maps_and_of_one_bin():
    with unallocated():
        net = upernet()
    trained = sum(int(np.prod(each.shape)) for each in net.trainable_weights)
    of_maps, of_one_bin = 2 * (64 + 128 + 256 + 512), 2 * 256 - 256
    assert trained + of_maps + of_one_bin == 29_599_681


def test_coarse_levels_reach_the_finest_and_all_are_joined():
    sides = {"stride4": (6, 5), "stride8": (3, 3)}
    inputs = {key: keras.Input((*side, 2), name=key) for key, side in sides.items()}
    model = keras.Model(inputs, fused_levels(inputs, 4, (1, 2), name="pyramid"))
    fill_weights(model)
    rng = np.random.default_rng(0)
    values = {key: rng.normal(size=(1, *side, 2)).astype("float32") for key, side in sides.items()}
    inner = ("pyramid_stride8_concat", "pyramid_stride8_bottleneck_relu", "pyramid_stride4_lateral_relu")
    inner += ("pyramid_stride4_output_conv", "pyramid_concat")
    parts = keras.Model(inputs, {name: model.get_layer(name).output for name in inner})(values, training=False)
    assert parts["pyramid_stride8_concat"].shape == (1, 3, 3, 2 + 2 * 4)
    top = keras.ops.image.resize(parts["pyramid_stride8_bottleneck_relu"], (6, 5), interpolation="bilinear")
    np.testing.assert_allclose(parts["pyramid_concat"][..., 4:], top, rtol=1e-5, atol=1e-6)
    kernel = model.get_layer("pyramid_stride4_output_conv").kernel
    fused = keras.ops.conv(parts["pyramid_stride4_lateral_relu"] + top, kernel, padding="same")
    np.testing.assert_allclose(parts["pyramid_stride4_output_conv"], fused, rtol=1e-4, atol=1e-5)
    with pytest.raises(ArgumentError, match="2 or more levels"):
        fused_levels({"stride4": inputs["stride4"]}, 4, (1, 2), name="one")


def test_images_of_any_side_and_any_channels():
    fixed, free = tiny(image_shape=(37, 26, 1)), tiny(image_shape=(None, None, 1))
    assert fixed.output_shape == (None, 37, 26, 3)
    fill_weights(fixed)
    for layer in free.layers:
        layer.set_weights(fixed.get_layer(layer.name).get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (2, 37, 26, 1)).astype("float32")
    np.testing.assert_allclose(free(x, training=False), fixed(x, training=False), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_one_image_is_learnt_by_heart():
    keras.utils.set_random_seed(0)
    assert loss_ratio(tiny(), 25, 1e-2) < 0.5
