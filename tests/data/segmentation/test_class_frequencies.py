"""Weights of classes by their pixels: hand-worked cases of both rules."""

import dataclasses

import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.data import DataWarning, load
from kerasdl.data.detection import draw_shapes
from kerasdl.data.segmentation import class_weights
from kerasdl.data.sources import Examples

MAPS = np.array([[[0, 0, 0, 1], [0, 0, 255, 255]], [[0, 0, 0, 0], [2, 2, 0, 0]]], np.uint8)


def dataset(maps, names=("ground", "cat", "dog")):
    like = draw_shapes(1, side=32, semantic=True)
    source = Examples(np.zeros((*maps.shape, 3), np.uint8), {"semantic": maps})
    return dataclasses.replace(like, class_names=names, input_shape=(2, 4, 3), size=len(maps), source=source)


def test_weights_are_those_of_the_paper_and_of_scikit_learn():
    # Frequencies over the images that show a class: 11 of 14, 1 of 6, 2 of 8; their median is 2 of 8.
    np.testing.assert_allclose(class_weights(dataset(MAPS)), 0.25 / np.array([11 / 14, 1 / 6, 2 / 8]))
    inverse = class_weights(dataset(MAPS), by="inverse")
    np.testing.assert_allclose(inverse, 14 / (3 * np.array([11, 1, 2])))
    known = MAPS[MAPS < 255]
    assert inverse[known].mean() == pytest.approx(1)


def test_an_absent_class_is_named_and_weighs_nothing():
    for by in ("median", "inverse"):
        with pytest.warns(DataWarning, match="no pixel of bird"):
            weights = class_weights(dataset(MAPS, ("ground", "cat", "dog", "bird")), by)
        assert weights[3] == 0
        assert np.isfinite(weights).all()


def test_other_data_are_refused():
    with pytest.raises(ArgumentError, match="needs data with semantic maps"):
        class_weights(load("digits"))
    with pytest.raises(ArgumentError, match="by must be one of"):
        class_weights(dataset(MAPS), "mean")
    with pytest.raises(ArgumentError, match=r"must hold the classes 0 to 1, or 255; got 2"):
        class_weights(dataset(MAPS, ("ground", "cat")))
