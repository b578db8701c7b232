"""Interpolations and traversals by their codes, and pictures of images by their pixels."""

import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.generative import ReconstructionTrainer, image_grid, interpolate, traverse

SMALL = {"image_shape": (16, 16, 1), "filters": (4,), "code": 3}


@pytest.fixture(scope="module")
def trainer():
    return ReconstructionTrainer(kerasdl.build("conv_autoencoder", **SMALL))


@pytest.fixture(scope="module")
def pair():
    return np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)).astype("float32")


def test_interpolations_begin_and_end_at_the_images(trainer, pair):
    ends = trainer.reconstruct(pair)
    codes = trainer.encode(pair)
    for spherical in (False, True):
        found = interpolate(trainer, *pair, steps=5, spherical=spherical)
        np.testing.assert_allclose(found[[0, -1]], ends, atol=1e-5)
    middle = interpolate(trainer, *pair, steps=3)[1]
    np.testing.assert_allclose(middle, trainer.decode(codes.mean(0, keepdims=True))[0], atol=1e-5)
    np.testing.assert_allclose(interpolate(trainer, pair[0], pair[0], spherical=True), [ends[0]] * 8, atol=1e-5)
    with pytest.raises(ArgumentError, match="steps"):
        interpolate(trainer, *pair, steps=1)


def test_traversals_change_one_unit(trainer, pair):
    found = traverse(trainer, pair[0], units=[2, 0], span=2.0, steps=3)
    code = trainer.encode(pair[:1])
    for row, unit in enumerate((2, 0)):
        for column, value in enumerate((-2, 0, 2)):
            changed = code.copy()
            changed[0, unit] = value
            np.testing.assert_allclose(found[row, column], trainer.decode(changed)[0], atol=1e-5)
    assert traverse(trainer, pair[0]).shape == (3, 8, 16, 16, 1)
    with pytest.raises(ArgumentError, match="a unit"):
        traverse(trainer, pair[0], units=[3])
    maps = ReconstructionTrainer(kerasdl.build("conv_autoencoder", **{**SMALL, "code": None}))
    with pytest.raises(ArgumentError, match="code"):
        traverse(maps, pair[0])


def test_a_grid_has_its_pixels(tmp_path):
    images = np.stack([np.full((2, 3, 1), value) for value in (-1.0, 0.0, 5.0)])
    picture = image_grid(images, columns=2, gap=1, path=tmp_path / "grid.png")
    assert picture.shape == (5, 7)
    assert (picture[:2, :3] == 0).all()
    assert (picture[:2, 4:] == 128).all()
    assert (picture[3:, :3] == 255).all()
    assert (picture[2] == 255).all()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "grid.png")), picture)
    assert image_grid(np.zeros((4, 2, 2, 3)), columns=9, gap=0).shape == (2, 8, 3)
    for wrong in (np.zeros((2, 2, 1)), np.zeros((1, 2, 2, 4)), np.full((1, 2, 2, 1), np.nan), np.zeros((0, 2, 2, 1))):
        with pytest.raises(ArgumentError, match="images must be"):
            image_grid(wrong)
