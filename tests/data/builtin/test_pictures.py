"""Embedded pictures: their classes and splits are fixed and disjoint, and an emoji keeps its split in both styles."""

import itertools

import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.data import list_datasets, load
from kerasdl.data.builtin import pictures
from kerasdl.data.splits import SPLITS

TOTALS = {"mnist": 5_000, "fashion_mnist": 10_000, "emoji": 1_906, "emoji:noto": 1_906, "emoji_kinds": 230}


def raw(name, split="train", **settings):
    return load(name, split, scale=None, **settings).arrays()


@pytest.mark.parametrize("name", TOTALS)
def test_splits_are_disjoint_and_cover_everything(name):
    parts = [raw(name, split) for split in SPLITS]
    assert sum(len(labels) for _, labels in parts) == TOTALS[name]
    seen = [set(map(bytes, images)) for images, _ in parts]
    assert not any(first & second for first, second in itertools.combinations(seen, 2))
    again, labels = raw(name)
    np.testing.assert_array_equal(again, parts[0][0])
    np.testing.assert_array_equal(labels, parts[0][1])


@pytest.mark.parametrize(("name", "share"), [("mnist", 0.1), ("fashion_mnist", 0.1)])
def test_classes_are_balanced(name, share):
    for split in SPLITS:
        _, labels = raw(name, split)
        np.testing.assert_allclose(np.bincount(labels) / len(labels), share, atol=1e-3)


def test_grey_images_are_white_on_black():
    for name, ink in (("mnist", 33), ("fashion_mnist", 73)):
        images, _ = raw(name)
        assert images.dtype == np.uint8
        assert images.shape[1:] == (28, 28, 1)
        assert images.mean() == pytest.approx(ink, abs=3)
        assert np.median(images[:, 0, 0]) == 0


def test_a_linear_model_reads_the_digits():
    """Labels belong to their images: at random a tenth would be right."""
    images, labels = raw("mnist")
    tests, truth = raw("mnist", "test")
    flat, flat_tests = (each.reshape(len(each), -1) / 255.0 for each in (images, tests))
    weights, *_ = np.linalg.lstsq(np.c_[flat, np.ones(len(flat))], np.eye(10)[labels], rcond=1e-3)
    assert np.mean((np.c_[flat_tests, np.ones(len(flat_tests))] @ weights).argmax(1) == truth) > 0.75


def test_kinds_of_emoji_have_ten_pictures_each_to_train_on():
    train, validation, test = (load("emoji_kinds", split) for split in SPLITS)
    assert train.class_names == ("mammal", "clothing", "fruit", "sky", "vehicle")
    assert train.input_shape == (64, 64, 3)
    for data, counts in ((train, [10] * 5), (validation, [2] * 5), (test, [54, 35, 8, 35, 38])):
        np.testing.assert_array_equal(np.bincount(data.arrays()[1]), counts)


@pytest.mark.parametrize("name", ["emoji", "emoji_kinds"])
def test_an_emoji_keeps_its_split_and_label_in_both_styles(name):
    for split in SPLITS:
        (twemoji, labels), (noto, others) = raw(name, split), raw(f"{name}:noto", split)
        np.testing.assert_array_equal(labels, others)
        assert not np.array_equal(twemoji, noto)
        alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(twemoji, noto, strict=True)]
        mixed = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(twemoji, np.roll(noto, 1, 0), strict=True)]
        assert np.nanmean(alike) > np.nanmean(mixed) + 0.1


def test_emoji_stand_on_white():
    images, _ = raw("emoji")
    assert np.mean(images[:, 0, 0] == 255) > 0.9


def test_names_sizes_and_refusals():
    known = {entry.name: entry for entry in list_datasets()}
    assert {"mnist", "fashion_mnist", "emoji", "emoji_kinds"} <= set(known)
    assert int(known["emoji_kinds"].size) == TOTALS["emoji_kinds"]
    assert len(pictures.emoji_names()) == int(known["emoji"].size)
    assert load("mnist", size=7).size == 7
    assert load("emoji", "test", image_shape=(32, 32, 3)).arrays()[0].shape[1:] == (32, 32, 3)
    assert load("emoji:noto").name == "emoji:noto"
    with pytest.raises(UnknownNameError, match="emoji:noto"):
        load("emoji:apple")
    with pytest.raises(ArgumentError, match="split"):
        load("mnist", "all")
