"""DeepLabV3 and V3+: published counts, dilation, the pyramid's reach, images of any side, one image by heart."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from two_regions import loss_ratio
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError, UnknownNameError
from kerasdl.vision.segmentation.deeplab import NARROW, deeplab_v3, deeplab_v3plus

BUILDERS = {"deeplab_v3": deeplab_v3, "deeplab_v3plus": deeplab_v3plus}
SMALL = {"backbone": "mobilenet_v2", "backbone_settings": NARROW, "rates": (1, 2), "channels": 16}


def tiny(name, **more):
    return BUILDERS[name](**{**kerasdl.spec(name).tiny, **more})


def test_counts_are_those_of_torchvision_and_segmentation_models():
    for builder, settings, count in (
        (deeplab_v3, {}, 39_638_869),
        (deeplab_v3, {"auxiliary": True}, 42_004_074),
        (deeplab_v3plus, {}, 26_682_725),
        (deeplab_v3plus, {"backbone": "mobilenet_v2", "last_channels": 1280}, 4_383_653),
    ):
        with unallocated():
            net = builder(**settings)
        assert sum(int(np.prod(each.shape)) for each in net.trainable_weights) == count
    assert net.output_shape == (None, 512, 512, 21)


def test_full_net_is_dilated_where_torchvision_dilates():
    with unallocated():
        net = deeplab_v3(auxiliary=True)
    rates = {layer.name: layer.dilation_rate[0] for layer in net.layers if isinstance(layer, keras.layers.Conv2D)}
    places = ("stage3_block1", "stage3_block2", "stage4_block1", "stage4_block2")
    assert [rates[f"{place}_2_conv"] for place in places] == [1, 2, 2, 4]
    assert net.get_layer("aspp_1x1_conv").output.shape == (None, 65, 65, 256)
    assert {name: each.shape for name, each in net.output.items()} == {
        "logits": (None, 520, 520, 21),
        "auxiliary": (None, 520, 520, 21),
    }
    assert net.get_layer("auxiliary_reduce_conv").input.shape[1:] == (65, 65, 1024)


def test_a_separable_branch_sees_as_far_as_its_rate():
    x = keras.Input((33, 33, 2))
    model = fill_weights(keras.Model(x, kerasdl.blocks.aspp(x, 4, rates=(5,), separable=True, name="aspp")))
    branch = keras.Model(x, model.get_layer("aspp_rate5_pointwise_bn").output)
    image = np.zeros((1, 33, 33, 2), "float32")
    image[0, 16, 16] = 1
    change = np.asarray(branch(image)) - np.asarray(branch(np.zeros_like(image)))
    rows, columns = np.nonzero(np.abs(change[0]).max(-1) > 1e-6)
    assert set(zip(rows, columns, strict=True)) == {(16 + 5 * i, 16 + 5 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)}


@pytest.mark.parametrize("name", BUILDERS)
def test_images_of_any_side_and_any_channels(name):
    fixed, free = tiny(name, image_shape=(37, 26, 5)), tiny(name, image_shape=(None, None, 5))
    assert fixed.output_shape == (None, 37, 26, 3)
    fill_weights(fixed)
    free.set_weights(fixed.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (2, 37, 26, 5)).astype("float32")
    np.testing.assert_allclose(free(x, training=False), fixed(x, training=False), rtol=1e-4, atol=1e-4)


def test_decoder_adds_borders_that_the_pyramid_has_not():
    """Logits near a pixel of the fine map change when its channels do, and those of the far corner do not."""
    net = fill_weights(tiny("deeplab_v3plus"))
    fine, coarse = net.get_layer("fine_relu"), net.get_layer("upsample")
    after = keras.Model([fine.output, coarse.output], net.get_layer("logits").output)
    maps = [
        np.random.default_rng(1).uniform(0, 1, (1, *each.output.shape[1:])).astype("float32") for each in (fine, coarse)
    ]
    before = np.asarray(after(maps, training=False))
    maps[0][0, 8, 8] += 1
    changed = np.abs(np.asarray(after(maps, training=False)) - before).max((0, -1)) > 1e-6
    assert changed[8, 8]
    assert not changed[:7].any()
    assert not changed[:, 10:].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_one_image_is_learnt_by_heart(name):
    keras.utils.set_random_seed(0)
    assert loss_ratio(tiny(name), 25, 1e-2) < 0.5


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="strides must name two maps"):
        deeplab_v3((64, 64, 3), strides=(8, 16, 32))
    with pytest.raises(ArgumentError, match="output_stride must be one of"):
        deeplab_v3plus((64, 64, 3), output_stride=4)
    with pytest.raises(UnknownNameError, match="unknown argument of densenet_features 'output_stride'"):
        deeplab_v3((64, 64, 3), backbone="densenet121")
    with pytest.raises(ArgumentError, match="classes must be an integer of 1 or more"):
        deeplab_v3((32, 32, 3), classes=0, strides=(8, 16), **SMALL)
