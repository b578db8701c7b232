"""Drawn cells: equal for equal seeds, apart by a pixel, weighted as the paper says, and beyond a threshold."""

import numpy as np
import pytest
from scipy import ndimage

from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.data import load
from kerasdl.data.segmentation import border_weights, draw_cells, read_masks, write_masks

EIGHT = np.ones((3, 3))


def test_pictures_depend_on_seed_split_colour_and_number_alone():
    few, many = draw_cells(2, side=64), draw_cells(4, side=64)
    for name, part in many.source.labels.items():
        np.testing.assert_array_equal(few.source.labels[name], part[:2])
    np.testing.assert_array_equal(few.source.inputs, many.source.inputs[:2])
    for other in ({"seed": 1}, {"split": "test"}, {"colour": True}):
        assert (draw_cells(2, side=64, **other).source.labels["semantic"] != few.source.labels["semantic"]).any()
    assert draw_cells(1, side=64, colour=True).input_shape == (64, 64, 3)


@pytest.mark.parametrize("side", [64, 128])
def test_no_two_cells_touch_and_each_is_whole(side):
    data = draw_cells(6, side=side, panoptic=True)
    assert [data.task, *data.class_names] == ["semantic_segmentation", "background", "cell"]
    neighbours = 0
    for _, labels in data:
        numbers = labels["panoptic"] % 1000
        np.testing.assert_array_equal(labels["semantic"], numbers > 0)
        np.testing.assert_array_equal(labels["panoptic"] // 1000, labels["semantic"])
        assert ndimage.label(labels["semantic"], EIGHT)[1] == numbers.max() == len(np.unique(numbers)) - 1 >= 5
        assert np.bincount(numbers.ravel())[1:].min() >= 30 * (side / 128) ** 2
        merged = ndimage.label(ndimage.binary_closing(np.pad(labels["semantic"], 2), EIGHT), EIGHT)[1]
        neighbours += numbers.max() - merged
    assert neighbours > 30  # most cells meet another


def brute_weights(numbers, border, sigma):
    """Equation 2 of the paper, pixel by pixel, on the background."""
    weights = np.ones(numbers.shape)
    for row, column in np.argwhere(numbers == 0):
        away = [
            np.hypot(*(np.argwhere(numbers == each) - (row, column)).T).min()
            for each in np.unique(numbers[numbers > 0])
        ]
        if len(away) > 1:
            weights[row, column] += border * np.exp(-(sum(sorted(away)[:2]) ** 2) / (2 * sigma**2))
    return weights


def test_weights_are_those_of_the_paper():
    numbers = draw_cells(1, side=40, panoptic=True).source.labels["panoptic"][0] % 1000
    for border, sigma in ((10.0, 5.0), (3.0, 2.0)):
        np.testing.assert_allclose(
            border_weights(numbers, border, sigma), brute_weights(numbers, border, sigma), atol=1e-4
        )
    shuffled = np.array([0, *np.random.default_rng(0).permutation(np.arange(1, 256))])[numbers]
    np.testing.assert_array_equal(border_weights(shuffled), border_weights(numbers))
    np.testing.assert_array_equal(border_weights(np.zeros((3, 4), int)), np.ones((3, 4)))
    np.testing.assert_array_equal(border_weights([[1, 0, 1]], class_weights=(2.0, 0.5)), [[0.5, 2.0, 0.5]])


def separated(true, found):
    """Returns the cells found at an IoU above 0.5, the true ones and the found ones."""
    joint = np.histogram2d(
        true.ravel(), found.ravel(), bins=[np.arange(each.max() + 2) - 0.5 for each in (true, found)]
    )[0]
    union = joint.sum(1, keepdims=True) + joint.sum(0) - joint
    return np.array([(joint[1:, 1:] > union[1:, 1:] / 2).sum(), true.max(), found.max()], int)


def test_the_best_threshold_with_connected_components_merges_cells():
    """Its F1 at an IoU of 0.5 stays below 0.3 at the best of its thresholds; that of the true map is 1."""
    data = draw_cells(12, panoptic=True, weights=False)
    images = [ndimage.gaussian_filter(image[..., 0].astype(float), 0.7) for image in data.source.inputs]
    truth = [labels % 1000 for labels in data.source.labels["panoptic"]]
    best = 0.0
    for share in (0.3, 0.4, 0.5, 0.6, 0.7):
        found = [ndimage.label(i > np.median(i) + share * (np.percentile(i, 98) - np.median(i)))[0] for i in images]
        hits, true, count = sum(map(separated, truth, found))
        best = max(best, 2 * hits / (true + count))
    assert 0.1 < best < 0.3
    exact = [ndimage.label(labels, EIGHT)[0] for labels in data.source.labels["semantic"]]
    hits, true, count = sum(map(separated, truth, exact))
    assert hits == true == count


def test_cells_load_by_name_and_are_written_as_masks(tmp_path):
    data = load("cells", "val", size=3, image_shape=(64, 64, 1), labels="panoptic")
    assert sorted(data.source.labels) == ["panoptic", "pixel_weights", "semantic"]
    assert load("cells:colour", size=1).input_shape == (128, 128, 3)
    (_, labels), *_ = data.batches(2)
    assert (labels["pixel_weights"].dtype.name, labels["pixel_weights"].shape) == ("float32", (2, 64, 64))
    cells = draw_cells(3, side=64, weights=False)
    write_masks(cells, tmp_path)
    back = read_masks(tmp_path, "all", on_bad="refuse")
    assert back.input_shape == (64, 64, 1)
    for (image, labels), (image2, labels2) in zip(cells, back, strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(labels["semantic"], labels2["semantic"])


def test_bad_arguments_are_refused():
    for arguments, match in (
        ({"split": "exam"}, "split must be one of"),
        ({"size": 0}, "size must be"),
        ({"side": 8}, "side must be"),
        ({"seed": -1}, "seed must be"),
    ):
        with pytest.raises(ArgumentError, match=match):
            draw_cells(**{"size": 1, **arguments})
    for arguments, match in (
        ({"numbers": [[0.5]]}, "whole numbers of 0 or more"),
        ({"numbers": [[-1]]}, "whole numbers of 0 or more"),
        ({"numbers": [0]}, "must be .H, W."),
        ({"numbers": [[1]], "sigma": 0}, "sigma must be"),
        ({"numbers": [[1]], "border": -1}, "border must be"),
        ({"numbers": [[1]], "class_weights": (1, -1)}, "a weight of class_weights"),
    ):
        with pytest.raises(ArgumentError, match=match):
            border_weights(**arguments)
    with pytest.raises(ArgumentError, match="labels of cells"):
        load("cells", labels="masks")
    with pytest.raises(UnknownNameError, match="Did you mean"):
        load("cells:color")
