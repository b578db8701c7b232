"""Selective search: merging by brute force, boxes of what is drawn, and the missing package by its name."""

import importlib.util
import sys

import numpy as np
import pytest

from kerasdl import ops
from kerasdl.core import ArgumentError
from kerasdl.core.errors import MissingPackageError
from kerasdl.ops.region_proposals import first_regions


def drawn():
    """Two halves of a red square on grey, and a green one apart: RGB, and a label for each part."""
    image, labels = np.full((20, 30, 3), 0.5), np.zeros((20, 30), int)
    parts = ((slice(2, 10), slice(3, 7)), (slice(2, 10), slice(7, 11))), ((slice(8, 18), slice(18, 28)),)
    label = 0
    for colour, halves in zip(((0.9, 0.0, 0.1), (0.0, 0.9, 0.0)), parts, strict=True):
        for place in halves:
            label += 1
            image[place], labels[place] = colour, label
    return image, labels


def test_what_is_alike_is_merged_first():
    image, labels = drawn()
    halves, whole, green = [(7, 2, 11, 10), (3, 2, 7, 10)], (3, 2, 11, 10), (18, 8, 28, 18)
    boxes = [*map(tuple, ops.merge_regions(image, labels).tolist())]
    assert boxes == [(0, 0, 30, 20), whole, green, *halves]  # the first of these is the background's box too


def test_unions_hold_the_histograms_of_their_pixels():
    """The joined region of two labels is the region of one label over both."""
    rng = np.random.default_rng(0)
    image, labels = rng.random((9, 8, 2)), rng.integers(0, 3, (9, 8))
    one, two, _ = first_regions(image, labels)
    joined, (whole, _) = one.joined(two), first_regions(image, np.where(labels == 2, 1, 0))
    assert joined.size == whole.size == (labels < 2).sum()
    np.testing.assert_array_equal(joined.box, whole.box)
    np.testing.assert_allclose(joined.colour, whole.colour, atol=1e-12)
    rows, columns = np.nonzero(labels < 2)
    np.testing.assert_array_equal(whole.box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert joined.colour.sum() == pytest.approx(1.0)


def test_similarity_is_the_papers_sum():
    image, labels = drawn()
    regions, pixels = first_regions(image, labels), labels.size
    one, two = regions[1], regions[3]
    box = 25 * 16  # from (3, 2) to (28, 18)
    size, fill = 1 - (one.size + two.size) / pixels, 1 - (box - one.size - two.size) / pixels
    alike = sum(min(a, b) for a, b in zip(one.colour, two.colour, strict=True))
    alike += sum(min(a, b) for a, b in zip(one.texture, two.texture, strict=True))
    assert one.similarity(two, pixels) == pytest.approx(alike + size + fill)


def test_images_and_labels_that_do_not_fit_are_refused():
    for call in (
        lambda: ops.merge_regions(np.zeros((4, 4)), np.zeros((4, 4), int)),
        lambda: ops.selective_search(np.full((8, 8), np.nan)),
        lambda: ops.selective_search(np.zeros((2, 8, 8, 3))),
        lambda: ops.selective_search(np.zeros((8, 8)), least_area=0),
    ):
        with pytest.raises(ArgumentError, match="must be"):
            call()


class Hidden:
    """A finder that says of scikit-image that it is not installed."""

    @staticmethod
    def find_spec(name, *_):
        if name == "skimage":
            raise ModuleNotFoundError(name=name)


def test_the_missing_package_is_named(monkeypatch):
    for name in [each for each in sys.modules if each.partition(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])
    with pytest.raises(MissingPackageError, match=r"pip install 'kerasdl\[proposals\]'"):
        ops.selective_search(np.zeros((16, 16)))


@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed")
def test_drawn_objects_are_proposed():
    image, _ = drawn()
    boxes = ops.selective_search(np.kron(image, np.ones((4, 4, 1))), least_area=100)
    for expected in ((12, 8, 44, 40), (72, 32, 112, 72)):
        assert np.abs(boxes - np.array(expected)).max(1).min() <= 2
