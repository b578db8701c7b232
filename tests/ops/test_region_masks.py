"""crop_masks against plain sampling, paste_mask against plain reading, and the way there and back."""

import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.ops import crop_masks, paste_mask


def read(image, y, x, outside):
    """Returns the bilinear value of an image (H, W) at a place in pixels, whose centres are at halves."""
    height, width = image.shape
    y, x, total = y - 0.5, x - 0.5, 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            inside = 0 <= row < height and 0 <= column < width
            value = image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] if inside or not outside else 0.0
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * value
    return total


def test_crops_are_samples_of_the_own_mask_alone():
    rng = np.random.default_rng(0)
    masks = (rng.uniform(size=(2, 3, 9, 12)) > 0.5).astype("uint8")
    boxes = np.array([[[0, 0, 12, 9], [2.5, 1.2, 9.1, 8.8], [11, 8, 12, 9]]] * 2, "float32")
    matches = np.array([[0, 1, 2], [2, 0, 1]])
    crops = crop_masks(masks, boxes, matches, (4, 5)).numpy()
    assert crops.shape == (2, 3, 4, 5)
    for image, place in np.ndindex(2, 3):
        left, top, right, bottom = boxes[image, place].astype(float)
        own = masks[image, matches[image, place]]
        for row, column in np.ndindex(4, 5):
            samples = [
                read(own, top + (bottom - top) * (row + i) / 4, left + (right - left) * (column + j) / 5, False)
                for i in (0.25, 0.75)
                for j in (0.25, 0.75)
            ]
            np.testing.assert_allclose(crops[image, place, row, column], np.mean(samples), atol=1e-4)


def test_pasted_pixels_are_readings_of_the_scores():
    rng = np.random.default_rng(1)
    scores = rng.uniform(size=(5, 7))
    for left, top, right, bottom in ((3.3, 2.1, 17.8, 12.4), (-6, -4.5, 9, 25), (19.5, 3, 40, 8)):
        mask = paste_mask(scores, (left, top, right, bottom), (20, 24))
        for row, column in np.ndindex(20, 24):
            value = read(
                scores, (row + 0.5 - top) / (bottom - top) * 5, (column + 0.5 - left) / (right - left) * 7, True
            )
            assert mask[row, column] == (value >= 0.5) or abs(value - 0.5) < 1e-5
        assert mask.any()


def test_a_mask_that_is_cut_out_and_pasted_is_nearly_the_same():
    rows, columns = np.mgrid[:80, :100] + 0.5
    disc = np.hypot(rows - 40, columns - 52) < 25
    box = np.array([27, 15, 77, 65], "float32")
    crop = crop_masks(disc[None, None], box[None, None], np.zeros((1, 1), int), (28, 28))[0, 0]
    again = paste_mask(crop, box, (80, 100))
    assert (again & disc).sum() / (again | disc).sum() > 0.97
    twice = paste_mask(crop, 2 * box, (160, 200))
    large = disc.repeat(2, 0).repeat(2, 1)
    assert (twice & large).sum() / (twice | large).sum() > 0.97


def test_a_full_mask_fills_its_box_and_no_more():
    mask = paste_mask(np.ones((28, 28)), (10, 20, 70, 50), (60, 80))
    expected = np.zeros((60, 80), bool)
    expected[20:50, 10:70] = True
    np.testing.assert_array_equal(mask, expected)


def test_boxes_without_area_or_outside_have_no_pixel():
    for box in ((5, 5, 5, 9), (7, 5, 6, 9), (-9, 0, -3, 4), (30, 30, 40, 40)):
        assert not paste_mask(np.ones((3, 3)), box, (20, 20)).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: crop_masks(np.zeros((2, 4, 4)), np.zeros((2, 1, 4)), np.zeros((2, 1), int), (2, 2)),
        lambda: crop_masks(np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 4)), np.zeros((1, 1), int), (0, 2)),
        lambda: paste_mask(np.zeros(4), (0, 0, 1, 1), (4, 4)),
        lambda: paste_mask(np.zeros((2, 2)), (0, 0, np.nan, 1), (4, 4)),
        lambda: paste_mask(np.zeros((2, 2)), (0, 0, 1, 1), (4, 0)),
        lambda: paste_mask(np.zeros((2, 2)), (0, 0, 1, 1), (4, 4), threshold=2),
    ],
)
def test_what_breaks_a_rule_is_refused(call):
    with pytest.raises(ArgumentError):
        call()
