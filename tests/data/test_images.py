"""Preparation of images, against NumPy and Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import decode_image, prepare_images

RNG = np.random.default_rng(0)


def triangle_resize(image, height, width):
    """Antialiased bilinear resize of (H, W) by its definition: a triangle filter over each axis, weights normalised."""

    def weights(old, new):
        ratio = old / new
        reach = max(ratio, 1.0)
        centres = (np.arange(new) + 0.5) * ratio
        distance = np.abs(np.arange(old) + 0.5 - centres[:, np.newaxis]) / reach
        found = np.clip(1 - distance, 0, None)
        return found / found.sum(axis=1, keepdims=True)

    return weights(image.shape[0], height) @ image.astype(float) @ weights(image.shape[1], width).T


@pytest.mark.parametrize("size", [(5, 9), (40, 64), (13, 17), (26, 8)])
def test_resize_is_an_antialiased_triangle_filter(size):
    image = RNG.integers(0, 256, (13, 17), np.uint8)
    found = prepare_images(image, (*size, 1), scale=(0, 255))[0, :, :, 0]
    # Pillow rounds after each axis.
    assert np.abs(found - triangle_resize(image, *size)).max() <= 1.01


@settings(max_examples=25, deadline=None)
@given(
    pixels=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=4).map(lambda s: (*s[:3], 3))),
    low=st.floats(-10, 10),
    width=st.floats(0.1, 20),
)
def test_scale_maps_levels_linearly(pixels, low, width):
    found = prepare_images(pixels, pixels.shape[1:], (low, low + width))
    np.testing.assert_allclose(found, low + width * (pixels / 255), atol=1e-5)
    assert found.dtype == np.float32


def test_channels_are_converted_as_itu_601_says():
    colour = RNG.integers(0, 256, (6, 7, 4), np.uint8)
    grey = prepare_images(colour[..., :3], (6, 7, 1), None)[0, ..., 0]
    np.testing.assert_allclose(grey, colour[..., :3] @ np.array([0.299, 0.587, 0.114]), atol=1)
    np.testing.assert_array_equal(prepare_images(colour, (6, 7, 3), None)[0], colour[..., :3])
    spread = prepare_images(colour[..., 0], (6, 7, 3), None)[0]
    np.testing.assert_array_equal(spread, np.repeat(colour[..., :1], 3, axis=2))
    opaque = prepare_images(colour[..., :3], (6, 7, 4), None)[0]
    np.testing.assert_array_equal(opaque, np.dstack([colour[..., :3], np.full((6, 7), 255)]))


def test_every_way_to_give_images_is_one():
    images = RNG.integers(0, 256, (3, 8, 8), np.uint8)
    batch = prepare_images(images, (8, 8, 1))
    np.testing.assert_array_equal(batch, prepare_images(images[..., np.newaxis], (8, 8, 1)))
    np.testing.assert_array_equal(batch, prepare_images(list(images), (8, 8, 1)))
    np.testing.assert_array_equal(batch[:1], prepare_images(images[0], (8, 8, 1)))
    np.testing.assert_array_equal(batch[:1], prepare_images(images[0][..., np.newaxis], (8, 8, 1)))
    mixed = prepare_images([images[0], np.zeros((4, 6, 3), np.uint8)], (8, 8, 1))
    np.testing.assert_array_equal(mixed[0], batch[0])
    assert (mixed[1] == -1).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1", "CMYK"])
def test_pillow_images_have_the_pixels_of_their_file(mode, tmp_path):
    kind = "jpg" if mode == "CMYK" else "png"
    picture = Image.fromarray(RNG.integers(0, 256, (6, 9, 3), np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / f"x.{kind}", exif=exif)
    expected = prepare_images(tmp_path / f"x.{kind}", (9, 6, 3), None)
    with Image.open(tmp_path / f"x.{kind}") as opened:
        for given in (opened, [opened]):
            np.testing.assert_array_equal(prepare_images(given, (9, 6, 3), None), expected)
    upright = np.rot90(np.asarray(picture.convert("RGB")), -1)
    turned = picture.transpose(Image.Transpose.ROTATE_270)  # which has no tag
    np.testing.assert_array_equal(prepare_images(turned, (9, 6, 3), None)[0], upright)


def test_tensors_are_arrays_and_files_that_end_early_are_named(tmp_path):
    pixels = RNG.integers(0, 256, (6, 9, 3), np.uint8)
    np.testing.assert_array_equal(prepare_images(tf.constant(pixels), (6, 9, 3), None)[0], pixels)
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:90])
    with Image.open(tmp_path / "cut.png") as opened, pytest.raises(DataError, match="cannot read the Pillow image"):
        prepare_images(opened, (6, 9, 3))


@pytest.mark.parametrize("given", [None, 3, {"a": 1}, iter([])])
def test_what_is_no_sequence_of_images_is_refused(given):
    with pytest.raises(ArgumentError, match="one image, or a sequence of them"):
        prepare_images(given, (8, 8, 3))


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ([[[1, 2], [3]]], "rows must have one length"),
        (np.zeros((2, 8, 8, 3), np.float32), "float32"),
        (np.zeros((2, 8, 8, 2), np.uint8), "non-empty uint8 array"),
        (np.zeros(8, np.uint8), "non-empty uint8 array"),
        ([np.zeros((0, 4), np.uint8)], "non-empty"),
    ],
)
def test_what_is_no_image_is_refused(images, text):
    with pytest.raises(ArgumentError, match=text):
        prepare_images(images, (8, 8, 3))


@pytest.mark.parametrize("scale", [(1, 1), (1, 0), (0, float("inf")), 3, "ab"])
def test_bad_scales_are_refused(scale):
    with pytest.raises(ArgumentError, match="scale must be"):
        prepare_images(np.zeros((4, 4), np.uint8), (4, 4, 1), scale)


def test_sizes_that_differ_need_a_full_shape():
    images = [np.zeros((4, 4), np.uint8), np.zeros((5, 4), np.uint8)]
    with pytest.raises(DataError, match="one size"):
        prepare_images(images, (None, None, 1))
    assert prepare_images(images[1:], (None, None, 1)).shape == (1, 5, 4, 1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
def test_files_are_decoded(tmp_path, suffix):
    pixels = np.kron(RNG.integers(0, 256, (4, 5, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    Image.fromarray(pixels).save(
        tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {"quality": 95})
    )
    found = decode_image(tmp_path / f"a{suffix}")
    assert found.shape == pixels.shape
    # JPEG loses colour detail at the blocks' edges alone: each block's middle stays.
    np.testing.assert_allclose(found[4::8, 4::8], pixels[4::8, 4::8], atol=40 if suffix == ".jpg" else 0)
    np.testing.assert_array_equal(prepare_images(tmp_path / f"a{suffix}", (32, 40, 3), None)[0], found)


def test_arrays_of_sixteen_bits_need_levels():
    deep = RNG.integers(0, 4096, (3, 5, 6), np.uint16)
    with pytest.raises(ArgumentError, match=r"uint16 .*Pass levels="):
        prepare_images(deep, (5, 6, 1))
    found = prepare_images(deep, (5, 6, 1), (0, 255), levels=4095)[..., 0]
    assert np.abs(found - deep / 4095 * 255).max() < 1
    np.testing.assert_array_equal(prepare_images(list(deep), (5, 6, 1), (0, 255), levels=4095)[..., 0], found)
    with pytest.raises(ArgumentError, match=r"levels must be at least .* got 99"):
        prepare_images(deep, (5, 6, 1), levels=99)
    eight = RNG.integers(0, 256, (5, 6), np.uint8)
    np.testing.assert_array_equal(prepare_images(eight, (5, 6, 1), None, levels=4095)[0, ..., 0], eight)


@pytest.mark.parametrize("levels", [0, -1, 65536, 4095.0, "4095", True])
def test_bad_levels_are_refused(levels):
    with pytest.raises(ArgumentError, match="levels must be"):
        prepare_images(np.zeros((4, 4), np.uint8), (4, 4, 1), levels=levels)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (lambda path: path.read_bytes(), r"got 'bytes'\. Open the content of a file by PIL.Image.open"),
        (lambda path: (each for each in [path]), r"got 'generator'\. Pass list\(images\)"),
        (lambda path: path.parent, r"must be files, not a folder; got .*\. Pass sorted\(Path\(folder\).iterdir\(\)\)"),
    ],
    ids=["content", "generator", "folder"],
)
def test_what_is_no_image_is_refused_with_the_remedy(tmp_path, images, text):
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(ArgumentError, match=text):
        prepare_images(images(tmp_path / "one.png"), (8, 8, 3))


def test_paths_and_pillow_images_mix(tmp_path):
    path = tmp_path / "one.png"
    Image.new("RGB", (8, 8), "orange").save(path)
    alone = prepare_images(path, (8, 8, 3))
    with Image.open(path) as picture:
        mixed = prepare_images([path, str(path), picture], (8, 8, 3))
    np.testing.assert_array_equal(mixed, np.repeat(alone, 3, axis=0))
