"""Letterbox: images keep their aspect ratio between grey borders, and boxes, masks and maps move with them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kerasdl.bundles.operations.trained_images import file_hashes, holds_files
from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, as_dataset, prepare_images
from kerasdl.data.detection import draw_shapes, letterbox, read_coco, write_coco
from kerasdl.data.letterboxing import GREY, Inset, inset, movement
from kerasdl.data.sources import Stream
from kerasdl.data.trees import LazyMaps, LazyMasks, Ragged, RaggedMaps

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


def inside(box, size):
    """Pixels whose middle lies in a box, (H, W)."""
    rows, columns = (np.arange(side) + 0.5 for side in size)
    left, top, right, bottom = box
    return np.outer((rows >= top) & (rows < bottom), (columns >= left) & (columns < right))


def labelled(images, labels):
    """Images with labels as readers of files hold them."""
    data = as_dataset((images, {name: [0] * len(images) for name in labels}))
    rows = {name: Ragged.of(value) if isinstance(value, list) else value for name, value in labels.items()}
    return dataclasses.replace(data, source=dataclasses.replace(data.source, labels=rows))


KINDS = {
    "in files": lambda maps: LazyMaps(maps, np.array, [each.shape for each in maps]),
    "in memory": RaggedMaps.of,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_is_what_lies_in_the_moved_box_and_its_borders_do_not_count(kind):
    images, labels = rectangles()
    maps = [(image[..., 0] > 0).astype("uint8") for image in images]
    data = labelled(images, {**labels, "semantic": KINDS[kind](maps)})
    moved = letterbox(data, (96, 160, 3), None)
    for image, label in moved:
        expected = np.where(inside(label["boxes"][0], (96, 160)), 1, 0)
        border = (image == GREY).all(axis=-1)
        np.testing.assert_array_equal(label["semantic"], np.where(border, 255, expected))
    again = letterbox(moved, (64, 64, 3), None)
    for one, other in zip(letterbox(data, (64, 64, 3), None), again, strict=True):
        agree = (one[1]["semantic"] == other[1]["semantic"]).mean()
        assert agree == 1 if kind == "in files" else agree > 0.95


@pytest.mark.parametrize("lazy", [True, False])
def test_masks_of_objects_are_what_lies_in_their_moved_boxes(lazy):
    images = np.zeros((2, 40, 90, 3), "uint8")
    boxes = [np.array([[7, 3, 31, 30], [50, 10, 90, 40]], "float32"), np.zeros((0, 4), "float32")]
    masks = [np.array([inside(box, (40, 90)) for box in each], "uint8").reshape(-1, 40, 90) for each in boxes]
    held = LazyMasks(masks, np.array, [(40, 90)] * 2, [2, 0]) if lazy else Ragged.of(masks)
    labels = {"boxes": boxes, "classes": [np.zeros(len(each), int) for each in boxes], "masks": held}
    for image_shape in ((96, 160, 3), (33, 20, 3)):
        (_, first), (_, empty) = letterbox(labelled(images, labels), image_shape, None)
        expected = [inside(box, image_shape[:2]) for box in first["boxes"]]
        np.testing.assert_array_equal(first["masks"], expected)
        assert empty["masks"].shape == (0, *image_shape[:2])


def test_void_and_weightless_pixels_surround_panoptic_maps_and_weights():
    images, _ = rectangles()
    codes, weights = (RaggedMaps.of([np.ones(each.shape[:2], kind) for each in images]) for kind in ("int32", "f4"))
    data = letterbox(labelled(images, {"panoptic": codes, "pixel_weights": weights}), (96, 80, 3), None)
    for image, moved in data:
        border = (image == GREY).all(axis=-1)
        np.testing.assert_array_equal(moved["panoptic"], np.where(border, -1, 1))
        np.testing.assert_array_equal(moved["pixel_weights"], np.where(border, 0, 1))


def test_what_a_letterbox_cannot_move_is_refused():
    scenes = draw_shapes(2, side=64, masks=True)
    stream = dataclasses.replace(scenes, source=Stream(tf.data.Dataset.from_tensors(scenes[0]), 1))
    with pytest.raises(ArgumentError, match="stream moves boxes alone"):
        letterbox(stream, (64, 64, 3))
    small = {"semantic": np.zeros((2, 8, 8), "uint8")}
    with pytest.raises(DataError, match=r"semantic must have the size of their images, \(64, 64\)"):
        letterbox(as_dataset((scenes.arrays()[0], small)), (32, 48, 3))
    with pytest.raises(ArgumentError, match="raw images with boxes, masks or maps"):
        letterbox(as_dataset((np.zeros((2, 8, 8, 3), "float32"), np.zeros(2, int))), (64, 64, 3))
    images, labels = rectangles()
    shares = {**labels, "boxes": [np.array([[0.1, 0.2, 0.5, 0.9]])] * len(images)}
    with pytest.raises(DataError, match="not in shares"):
        letterbox(as_dataset((images, shares)), (64, 64, 3))
