"""Letterbox: images keep their aspect ratio between grey borders, and boxes move with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kerasdl.bundles.operations.trained_images import file_hashes, holds_files
from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, as_dataset, prepare_images
from kerasdl.data.detection import draw_shapes, letterbox, read_coco, write_coco
from kerasdl.data.letterboxing import GREY, Inset, inset, movement

SIZES = [(40, 90), (120, 30), (64, 64), (37, 53)]
SIDES = st.integers(1, 400)


@given(size=st.tuples(SIDES, SIDES), target=st.tuples(SIDES, SIDES))
def test_an_image_is_as_large_as_fits_and_in_the_middle(size, target):
    place = inset(size, target)
    ratio = min(target[0] / size[0], target[1] / size[1])
    for side, old, start, whole in zip(place[:2], size, place[2:], target, strict=True):
        assert 1 <= side <= whole
        assert abs(side - old * ratio) <= 0.5 + 1e-9 or side == 1
        assert start == (whole - side) // 2
    assert place.height == target[0] or place.width == target[1]


def test_boxes_move_from_one_inset_to_another_and_back():
    box = np.array([3.0, 5.0, 20.0, 30.0])
    one, other = inset((40, 90), (96, 96)), Inset(40, 90)
    factors, shifts = movement(other, one)
    moved = box * factors + shifts
    np.testing.assert_allclose(moved, box * (96 / 90, 43 / 40, 96 / 90, 43 / 40) + [0, 26, 0, 26])
    back, shift = movement(one, other)
    np.testing.assert_allclose(moved * back + shift, box)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_the_resized_image_between_grey_borders(size, channels):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    (pixels,) = prepare_images(image, (96, 80, channels), None, letterbox=True)
    height, width, top, left = inset(size, (96, 80))
    inside = pixels[top : top + height, left : left + width]
    np.testing.assert_array_equal(inside, prepare_images(image, (height, width, channels), None)[0])
    borders = np.ones((96, 80), bool)
    borders[top : top + height, left : left + width] = False
    assert (pixels[borders] == GREY).all()
    assert borders.any() == ((height, width) != (96, 80))


def test_a_letterbox_of_unknown_sides_is_refused():
    with pytest.raises(ArgumentError, match="letterbox must have known sides"):
        prepare_images(np.zeros((8, 8), np.uint8), (None, 32, 3), letterbox=True)
    with pytest.raises(ArgumentError, match="letterbox must have known sides"):
        letterbox(draw_shapes(1), (None, 32, 3))


def rectangles():
    """Dark images of several sizes with a bright rectangle each, and its box."""
    images, boxes = [], []
    for height, width in SIZES:
        left, top, right, bottom = width // 5, height // 4, width - width // 3, height - 3
        image = np.zeros((height, width, 3), np.uint8)
        image[top:bottom, left:right] = 255
        images.append(image)
        boxes.append(np.array([[left, top, right, bottom]], "float32"))
    return images, {"boxes": boxes, "classes": [np.zeros(1, int)] * len(boxes)}


def bright_box(pixels):
    rows, columns = np.nonzero(pixels[..., 0] >= 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_boxes_stay_on_their_objects():
    data = letterbox(as_dataset(rectangles()), (96, 160, 3), None)
    for image, labels in data:
        assert image.shape == (96, 160, 3)
        np.testing.assert_allclose(labels["boxes"], [bright_box(image)], atol=1.01)


def test_a_letterbox_after_another_size_starts_from_the_raw_images():
    raw = as_dataset(rectangles())
    expected = letterbox(raw, (64, 96, 3))
    for before in (raw.prepared((50, 20, 3), None), letterbox(raw, (80, 30, 3)), expected.prepared((30, 30, 3))):
        for (image, labels), (image2, labels2) in zip(expected, letterbox(before, (64, 96, 3)), strict=True):
            np.testing.assert_array_equal(image, image2)
            np.testing.assert_allclose(labels["boxes"], labels2["boxes"], atol=1e-3)


def test_files_are_read_in_a_letterbox_with_areas_and_known_as_files(tmp_path):
    scenes = draw_shapes(3, side=64)
    write_coco(scenes, tmp_path / "a.json", tmp_path / "images")
    for path in (tmp_path / "images").iterdir():
        Image.open(path).resize((64, 32)).save(path)
    content = (tmp_path / "a.json").read_text().replace('"height": 64', '"height": 32')
    (tmp_path / "a.json").write_text(content)
    with pytest.warns(DataWarning):  # boxes beyond the lower half
        data = read_coco(tmp_path / "a.json", tmp_path / "images")
    boxed = letterbox(data, (64, 128, 3), None)
    np.testing.assert_allclose(boxed.source.labels["boxes"].values, data.source.labels["boxes"].values * 2)
    np.testing.assert_allclose(boxed.source.labels["areas"].values, data.source.labels["areas"].values * 4)
    assert boxed.arrays()[0].shape == (data.size, 64, 128, 3)
    square = letterbox(boxed, (64, 64, 3), None)
    moved = square.source.labels["boxes"].values - np.array([0, 16, 0, 16])
    np.testing.assert_allclose(moved, data.source.labels["boxes"].values, atol=1e-4)
    assert (square.arrays()[0][:, :16] == GREY).all()
    assert holds_files(square)
    np.testing.assert_array_equal(file_hashes(square), file_hashes(data))


def test_what_a_letterbox_cannot_move_is_refused():
    with pytest.raises(ArgumentError, match="raw images with boxes alone"):
        letterbox(draw_shapes(1, masks=True), (64, 64, 3))
    with pytest.raises(ArgumentError, match="raw images with boxes alone"):
        letterbox(as_dataset((np.zeros((2, 8, 8, 3), "float32"), np.zeros(2, int))), (64, 64, 3))
    images, labels = rectangles()
    shares = {**labels, "boxes": [np.array([[0.1, 0.2, 0.5, 0.9]])] * len(images)}
    with pytest.raises(DataError, match="not in shares"):
        letterbox(as_dataset((images, shares)), (64, 64, 3))
