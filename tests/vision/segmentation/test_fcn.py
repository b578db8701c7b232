"""FCN: scores of maps by hand, its bilinear start, images of any side, and the form of torchvision."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.vision.segmentation.fcn import fcn, fcn_resnet

RNG = np.random.default_rng(0)
VGG = {"stages": (1, 1, 1), "channels": (4, 4, 4), "round_up": True}
SMALL = dict(classes=2, hidden=4, kernel=3, backbone_settings=VGG)


def passing(model, **scores):
    """Sets the kernels so that the first channel of images from 0 passes, and the score of each map is that factor."""
    for layer in model.layers:
        if layer.weights and not isinstance(layer, keras.layers.Conv2DTranspose):
            kernel = np.zeros(layer.kernel.shape, "float32")
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, 0, 0] = scores.get(layer.name, 1.0)
            layer.set_weights([kernel, np.zeros(layer.bias.shape, "float32")])
    return model


def pooled(x, side):
    """Largest pixel of each square, of a side that the image is filled up to."""
    height, width = (-(-each // side) * side for each in x.shape[1:3])
    x = np.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)), constant_values=-1)
    return x.reshape(len(x), height // side, side, width // side, side, -1).max((2, 4))


def enlarged(x, factor):
    """Bilinear, of a map around which zeros stand."""
    height, width = x.shape[1] * factor, x.shape[2] * factor
    bordered = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    large = keras.ops.image.resize(bordered, (height + 2 * factor, width + 2 * factor), interpolation="bilinear")
    return np.asarray(large)[:, factor:-factor, factor:-factor]


def test_scores_are_enlarged_bilinearly_and_added_where_they_came_from():
    x = RNG.uniform(0.1, 1.0, (2, 27, 22, 1)).astype("float32")
    model = fcn((27, 22, 1), strides=(2, 4, 8), **SMALL)
    assert not model.get_layer("score_stride2").kernel.numpy().any(), "a finer score starts at 0, as in the paper"
    passing(model, score_stride2=0.5, score_stride4=3.0)
    coarse = enlarged(pooled(x, 8), 2)[:, :7, :6] + 3.0 * pooled(x, 4)
    expected = enlarged(enlarged(coarse, 2)[:, :14, :11] + 0.5 * pooled(x, 2), 2)[:, :27, :22]
    given = np.asarray(model(x, training=False))
    np.testing.assert_allclose(given[..., 0], expected[..., 0], atol=1e-5)
    np.testing.assert_array_equal(given[..., 1], 0.0)


def test_fcn_with_one_stride_is_one_enlargement():
    x = RNG.uniform(0.1, 1.0, (1, 16, 24, 1)).astype("float32")
    model = passing(fcn((16, 24, 1), strides=(8,), **SMALL))
    assert model.get_layer("logits").kernel_size == (16, 16)
    np.testing.assert_allclose(model(x)[..., 0], enlarged(pooled(x, 8), 8)[..., 0], atol=1e-5)


@pytest.mark.parametrize("strides", [(1, 2), (4, 6), (8, 4)])
def test_strides_that_no_kernel_of_twice_the_step_enlarges_are_refused(strides):
    with pytest.raises(ArgumentError, match="each an even multiple"):
        fcn((32, 32, 3), strides=strides, **SMALL)


def test_images_of_any_side_give_logits_of_that_side():
    settings = {"stages": (1, 1, 1, 1), "channels": 4, "bottleneck": False}
    for build, arguments in ((fcn, {**SMALL, "strides": (2, 8)}), (fcn_resnet, {"backbone_settings": settings})):
        fixed, free = (build(shape, **arguments) for shape in ((37, 26, 3), (None, None, 3)))
        assert fixed.output_shape[1:3] == (37, 26)
        free.set_weights(fixed.get_weights())
        x = RNG.normal(size=(1, 37, 26, 3)).astype("float32")
        np.testing.assert_allclose(free(x), fixed(x), atol=1e-5)


def test_fcn_over_a_dilated_resnet_has_an_auxiliary_head_on_the_map_before_the_last():
    settings = {"stages": (1, 1, 1, 1), "channels": 8}
    model = fcn_resnet((64, 64, 3), classes=5, backbone_settings=settings, auxiliary=True)
    assert {name: each.shape for name, each in model.output.items()} == {
        "logits": (None, 64, 64, 5),
        "auxiliary": (None, 64, 64, 5),
    }
    assert model.get_layer("logits").input.shape == (None, 8, 8, 64)  # an eighth of the image, a quarter of 256
    assert model.get_layer("auxiliary").input.shape == (None, 8, 8, 32)
    with pytest.raises(ArgumentError, match="strides must name two maps"):
        fcn_resnet((64, 64, 3), strides=(32,))


def test_learns_one_image():
    keras.utils.set_random_seed(0)
    x = RNG.normal(size=(1, 16, 16, 3)).astype("float32")
    labels = np.zeros((1, 16, 16), "int32")
    labels[:, 4:12, 6:13] = 1
    settings = {**VGG, "channels": (8, 8, 16)}
    model = fcn((16, 16, 3), classes=2, hidden=32, strides=(2, 8), dropout=0.0, kernel=3, backbone_settings=settings)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = 1e-2
    before = model.evaluate(x, labels, verbose=0)
    model.fit(x, labels, epochs=40, verbose=0)
    assert model.evaluate(x, labels, verbose=0) < 0.3 * before
