"""U-Net: paths of its decoder by identity kernels, sizes of any side, and what its options change."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.vision.segmentation.unet import unet, unet_2015, unet_on_backbone

RNG = np.random.default_rng(0)
SMALL = {"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))}


def images(height, width, channels=1):
    return RNG.uniform(0.1, 1.0, (2, height, width, channels)).astype("float32")


def passing(model, read):
    """Sets the kernels so that the first channel passes unchanged.

    The first convolution of each block of the decoder reads the coarser map if `read` is `coarse`, the encoder's map
    if it is `skip`.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel = np.zeros(layer.kernel.shape, "float32")
        if isinstance(layer, keras.layers.Conv2DTranspose):
            kernel[:, :, 0, 0] = 1
        else:
            first_of_skip = kernel.shape[2] // 2 if layer.name.startswith("decoder") and "_1_" in layer.name else 0
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, first_of_skip if read == "skip" else 0, 0] = 1
        layer.set_weights([kernel, np.zeros(layer.bias.shape, "float32")])
    return model


def test_skips_meet_the_pixels_that_they_came_from():
    x = images(27, 22)
    model = passing(unet((27, 22, 1), channels=4, depth=3, norm=False), "skip")
    np.testing.assert_allclose(np.asarray(model(x))[..., 0], x[..., 0], atol=1e-6)


def test_coarse_maps_meet_the_pixels_that_they_came_from():
    """A place of the coarsest map is the largest of its 4x4 pixels; poolings round up, and the decoder cuts."""
    x = images(27, 22)
    model = passing(unet((27, 22, 1), channels=4, depth=2, norm=False), "coarse")
    padded = np.pad(x[..., 0], ((0, 0), (0, 1), (0, 2)), constant_values=-1)
    largest = padded.reshape(2, 7, 4, 6, 4).max((2, 4)).repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(np.asarray(model(x))[..., 0], largest[:, :27, :22], atol=1e-6)


def test_unet_2015_gives_the_middle_of_the_image():
    x = images(60, 68)
    model = passing(unet_2015((60, 68, 1), channels=4, depth=2, dropout=0.0), "skip")
    assert model.output_shape == (None, 20, 28, 2)
    np.testing.assert_allclose(np.asarray(model(x))[..., 0], x[:, 20:-20, 20:-20, 0], atol=1e-6)
    assert unet_2015(channels=2).output_shape == (None, 388, 388, 2)


@pytest.mark.parametrize(
    ("shape", "near"), [((571, 572, 1), "572 and 572"), ((100, 300, 1), "188 and 300"), ((None, 572, 1), "known sides")]
)
def test_unet_2015_refuses_sides_that_a_pooling_would_halve_unevenly(shape, near):
    with pytest.raises(ArgumentError, match=near):
        unet_2015(shape)


def test_smallest_image_of_unet_2015_is_the_one_that_its_rule_names():
    for depth, least in ((1, 18), (2, 44), (3, 92)):
        assert min(unet_2015((least, least, 1), depth=depth, channels=1).output_shape[1:3]) > 0
        with pytest.raises(ArgumentError, match=f"{least} or more, by steps of {2**depth}"):
            unet_2015((least - 2**depth,) * 2 + (1,), depth=depth, channels=1)


@pytest.mark.parametrize("up", ["transpose", "resize"])
@pytest.mark.parametrize(
    "build",
    [
        lambda shape, up: unet(shape, channels=4, depth=3, up=up),
        lambda shape, up: unet_on_backbone(
            shape,
            backbone="mobilenet_v2",
            backbone_settings=SMALL,
            strides=(2, 4, 8),
            channels=(8, 8, 4),
            up=up,
        ),
    ],
)
def test_images_of_any_side_give_logits_of_that_side(build, up):
    fixed, free = build((37, 26, 2), up), build((None, None, 2), up)
    assert fixed.output_shape[1:3] == (37, 26)
    free.set_weights(fixed.get_weights())
    x = images(37, 26, 2)
    np.testing.assert_allclose(free(x), fixed(x), atol=1e-5)


def test_without_skips_the_decoder_has_nothing_of_the_encoder_but_its_last_map():
    def readers(skips):
        model = unet((32, 32, 3), channels=4, depth=2, skips=skips)
        merges = [layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
        only_way = keras.Model(model.get_layer("pool2").output, model.output) if not skips else None
        return len(merges), only_way

    assert readers(True) == (2, None)
    count, only_way = readers(False)
    assert count == 0
    assert only_way.input_shape == (None, 8, 8, 8)


def test_resizing_leaves_no_checkerboard_on_an_even_image():
    """Seen in the middle, where no padding reaches; a transposed convolution has four kernels for four neighbours."""

    def unevenness(up):
        model = unet((64, 64, 1), channels=4, depth=2, norm=False, skips=False, up=up)
        middle = np.asarray(model(np.ones((1, 64, 64, 1), "float32")))[0, 28:36, 28:36]
        return np.ptp(middle, axis=(0, 1)).max()

    assert unevenness("resize") < 1e-6
    assert unevenness("transpose") > 1e-3


def test_decoders_that_do_not_fit_their_maps_are_refused():
    with pytest.raises(ArgumentError, match="one entry for each of the 5 maps"):
        unet_on_backbone((64, 64, 3), channels=(32, 16))
    with pytest.raises(ArgumentError, match="each stride twice the one before"):
        unet_on_backbone((64, 64, 3), strides=(4, 16), channels=(32, 16))
    with pytest.raises(ArgumentError, match="up must be one of"):
        unet((32, 32, 3), channels=4, up="bilinear")


def test_backbone_without_a_map_of_stride_2_is_decoded_in_larger_steps():
    net = unet_on_backbone(
        (48, 40, 3),
        backbone="mobilenet_v2",
        backbone_settings=SMALL,
        strides=(4, 8),
        channels=(8, 4),
        up="transpose",
    )
    assert net.get_layer("decoder1_up_conv").kernel_size == (4, 4)
    assert net.output_shape == (None, 48, 40, 1)


def test_learns_one_image():
    keras.utils.set_random_seed(0)
    x = RNG.normal(size=(1, 16, 16, 3)).astype("float32")
    labels = np.zeros((1, 16, 16), "int32")
    labels[:, 4:12, 6:13] = 1
    model = unet((16, 16, 3), channels=8, depth=1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = 1e-2
    before = model.evaluate(x, labels, verbose=0)
    model.fit(x, labels, epochs=30, verbose=0)
    assert model.evaluate(x, labels, verbose=0) < 0.3 * before
