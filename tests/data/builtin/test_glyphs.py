"""Letters drawn on the spot: pure in (seed, split, i), legible, balanced."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from kerasdl.data import load
from kerasdl.data.builtin.glyphs import FONTS, LETTERS, draw_atlas


@pytest.mark.parametrize("font", FONTS)
def test_every_letter_of_every_font_is_drawn_and_distinct(font):
    letters = draw_atlas()[FONTS.index(font)]
    assert (letters.max(axis=(1, 2)) > 0.5).all()
    distance = np.abs(letters[:, np.newaxis] - letters).mean(axis=(2, 3))
    # A box for a missing letter would be the same 26 times.
    assert distance[~np.eye(26, dtype=bool)].min() > 0.01


@settings(max_examples=8, deadline=None)
@given(small=st.integers(1, 300), more=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_a_larger_set_begins_with_the_smaller_one(small, more, seed):
    one = load("glyphs", size=small, seed=seed, scale=None).arrays()
    other = load("glyphs", size=small + more, seed=seed, scale=None).arrays()
    np.testing.assert_array_equal(one[0], other[0][:small])
    np.testing.assert_array_equal(one[1], other[1][:small])


def test_seeds_and_splits_draw_different_images():
    sets = [
        load("glyphs", split, size=26, seed=seed, scale=None).arrays()[0]
        for split, seed in (("train", 0), ("train", 1), ("validation", 0), ("test", 0))
    ]
    images = np.concatenate(sets).reshape(4 * 26, -1)
    assert len(np.unique(images, axis=0)) == len(images)


def test_letters_are_balanced_and_mostly_white_on_black():
    dataset = load("glyphs", "validation", scale=None)
    images, labels = dataset.arrays()
    assert (dataset.class_names, dataset.size, images.shape[1:]) == (LETTERS, 1300, (32, 32, 1))
    assert len(set(np.bincount(labels))) == 1
    border = np.concatenate([images[:, 0], images[:, -1]], axis=1).mean(axis=(1, 2))
    assert 0.8 < np.mean(border < 128) < 0.97
    assert images.reshape(len(images), -1).std(axis=1).min() > 10


def test_the_letters_can_be_told_apart():
    (x, y), (x_new, y_new) = (
        load("glyphs", split, size=size).arrays() for split, size in (("train", 2600), ("test", 520))
    )
    flat = [np.abs(part - part[:, :1, :1]).reshape(len(part), -1) for part in (x, x_new)]
    assert KNeighborsClassifier(3).fit(flat[0], y).score(flat[1], y_new) > 0.3
