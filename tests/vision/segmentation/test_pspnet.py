"""PSPNet: the count of segmentation_models, its pyramid by NumPy, images of any side, one image by heart."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from two_regions import loss_ratio
from unallocated import unallocated

import kerasdl
from kerasdl.blocks.segmentation.pyramid_pooling import bin_means
from kerasdl.core import ArgumentError
from kerasdl.vision.segmentation.pspnet import pspnet


def tiny(**more):
    return pspnet(**{**kerasdl.spec("pspnet").tiny, **more})


def count(network):
    return sum(int(np.prod(each.shape)) for each in network.trainable_weights)


def test_count_is_that_of_segmentation_models_less_the_stages_that_it_never_runs():
    with unallocated():
        net, resnet = pspnet(), kerasdl.build("resnet34")
    unused = [each for each in resnet.trainable_weights if each.path.startswith(("stage3", "stage4"))]
    assert count(net) + sum(int(np.prod(each.shape)) for each in unused) == 21_437_985


def test_net_of_the_paper_has_its_pyramid_on_a_dilated_resnet():
    with unallocated():
        net = pspnet((473, 473, 3), classes=150, backbone="resnet50", strides=(16, 32), output_stride=8, auxiliary=True)
    assert net.get_layer("pyramid_concat").output.shape == (None, 60, 60, 4096)
    assert net.get_layer("auxiliary_reduce_conv").input.shape == (None, 60, 60, 1024)
    assert net.output["auxiliary"].shape == (None, 473, 473, 150)


def test_pyramid_has_the_means_of_bins_that_may_overlap():
    x = keras.Input((7, 5, 4))
    model = fill_weights(keras.Model(x, kerasdl.blocks.pyramid_pooling(x, (1, 3), name="pyramid")))
    values = np.random.default_rng(0).normal(size=(2, 7, 5, 4)).astype("float32")
    out = np.asarray(model(values, training=False))
    np.testing.assert_array_equal(out[..., :4], values)
    kernel, bias = model.get_layer("pyramid_bins1_conv").get_weights()
    whole = np.maximum(values.mean((1, 2)) @ kernel[0, 0] + bias, 0)
    np.testing.assert_allclose(out[..., 4:6], np.broadcast_to(whole[:, None, None], (2, 7, 5, 2)), rtol=1e-4, atol=1e-5)
    pooled = keras.Model(x, model.get_layer("pyramid_bins3_pool").output)(values)
    np.testing.assert_allclose(pooled[:, 1, 2], values[:, 2:5, 3:5].mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_bins_of_one_size_are_an_ordinary_pooling():
    x = keras.Input((6, 4, 3))
    pooled = bin_means(x, 2, name="pool")
    assert isinstance(pooled._keras_history.operation, keras.layers.AveragePooling2D)
    values = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype("float32")
    expected = values.reshape(2, 2, 3, 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(keras.Model(x, pooled)(values), expected, rtol=1e-4, atol=1e-6)


def test_maps_that_cannot_be_cut_are_refused():
    x = keras.Input((7, 5, 4))
    with pytest.raises(ArgumentError, match="at most the 4 channels"):
        kerasdl.blocks.pyramid_pooling(x, (1, 2, 3, 4, 5), name="wide")
    with pytest.raises(ArgumentError, match=r"sides of 2 or more; got \(1, 5\)"):
        kerasdl.blocks.pyramid_pooling(keras.Input((1, 5, 4)), name="low")


def test_images_of_any_side_and_any_channels():
    fixed, free = tiny(image_shape=(37, 26, 1)), tiny(image_shape=(None, None, 1))
    assert fixed.output_shape == (None, 37, 26, 3)
    fill_weights(fixed)
    free.set_weights(fixed.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (2, 37, 26, 1)).astype("float32")
    np.testing.assert_allclose(free(x, training=False), fixed(x, training=False), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_one_image_is_learnt_by_heart():
    keras.utils.set_random_seed(0)
    assert loss_ratio(tiny(), 25, 1e-2) < 0.5
