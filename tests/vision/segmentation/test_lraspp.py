"""LR-ASPP: the count and maps of torchvision, its gate by NumPy, images of any side, one image by heart."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from two_regions import loss_ratio
from unallocated import unallocated

import kerasdl
from kerasdl.vision.segmentation.lraspp import lraspp


def tiny(**more):
    return lraspp(**{**kerasdl.spec("lraspp").tiny, **more})


def test_full_net_has_torchvisions_weights_and_maps():
    with unallocated():
        net = lraspp((512, 512, 3))
    assert sum(int(np.prod(each.shape)) for each in net.trainable_weights) == 3_221_538
    fine = net.get_layer("fine_logits").input
    assert fine._keras_history.operation.name == "block4_project_bn"
    assert fine.shape == (None, 64, 64, 40)
    assert net.get_layer("last_conv").output.shape == (None, 32, 32, 960)
    assert net.get_layer("block13_depthwise_conv").dilation_rate == (2, 2)


def test_gate_weighs_each_channel_by_the_mean_of_the_map():
    net = fill_weights(tiny())
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    names = ("last_hard_silu", "project_relu", "gated")
    last, projected, gated = keras.Model(net.input, [net.get_layer(name).output for name in names])(x, training=False)
    (kernel,) = net.get_layer("gate_conv").get_weights()
    gate = 1 / (1 + np.exp(-np.asarray(last).mean((1, 2)) @ kernel[0, 0]))
    np.testing.assert_allclose(gated, np.asarray(projected) * gate[:, None, None], rtol=1e-4, atol=1e-5)


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
