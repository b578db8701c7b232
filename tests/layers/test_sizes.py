"""ReshapeLike and ResizeLike: to the sides of another tensor, known or free, and through a save."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.layers import ReshapeLike, ResizeLike

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("sides", [(4, 6), (None, None)])
def test_tokens_become_the_image_that_they_were(sides, tmp_path):
    image = keras.Input((*sides, 3))
    tokens = keras.layers.Reshape((-1, 3))(image)
    model = keras.Model(image, ReshapeLike()([tokens, image]))
    x = RNG.normal(size=(2, 4, 6, 3)).astype("float32")
    np.testing.assert_array_equal(model(x), x)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), x)


@pytest.mark.parametrize("sides", [(8, 6), (None, None)])
def test_images_are_resized_to_the_other_ones_sides(sides, tmp_path):
    small, large = keras.Input((4, 3, 2)), keras.Input((*sides, 5))
    model = keras.Model([small, large], ResizeLike()([small, large]))
    ramp = np.broadcast_to(np.arange(4.0)[None, :, None, None], (1, 4, 3, 2)).astype("float32")
    out = np.asarray(model([ramp, np.zeros((1, 8, 6, 5), "float32")]))
    assert out.shape == (1, 8, 6, 2)
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)  # half-pixel centres
    np.testing.assert_allclose(out[0, :, 0, 0], expected, atol=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again([ramp, np.zeros((1, 8, 6, 5), "float32")]), out)


def test_one_place_fills_the_image():
    one = RNG.normal(size=(2, 1, 1, 3)).astype("float32")
    out = np.asarray(ResizeLike()([one, np.zeros((2, 5, 7, 1), "float32")]))
    np.testing.assert_allclose(out, np.broadcast_to(one, (2, 5, 7, 3)), atol=1e-6)


@pytest.mark.parametrize("sides", [(13, 25), (None, None)])
def test_nearest_neighbours_are_pytorchs(sides, tmp_path):
    """Pixel i of n comes from floor(i * m / n) of m, where n is no multiple of m too."""
    small, large = keras.Input((7, 13, 2)), keras.Input((*sides, 1))
    model = keras.Model([small, large], ResizeLike("nearest")([small, large]))
    x, like = RNG.normal(size=(2, 7, 13, 2)).astype("float32"), np.zeros((2, 13, 25, 1), "float32")
    out = np.asarray(model([x, like]))
    for row, column in np.ndindex(13, 25):
        np.testing.assert_array_equal(out[:, row, column], x[:, row * 7 // 13, column * 13 // 25])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")([x, like]), out)
    with pytest.raises(ArgumentError, match="interpolation must be one of"):
        ResizeLike("bicubic")
