"""Emoji over photographs: a function of their numbers, boxes exact, splits apart, styles alike."""

import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.data import load
from kerasdl.data.builtin import pictures
from kerasdl.data.detection import paste_stickers
from kerasdl.data.detection.stickers import _members, _part, emoji_classes


def test_labels_agree_with_the_masks_and_a_larger_set_begins_with_the_smaller_one():
    small, data = paste_stickers(2, side=64, masks=True), paste_stickers(4, side=64, masks=True, panoptic=True)
    np.testing.assert_array_equal(small.source.inputs, data.source.inputs[:2])
    for image, labels in data:
        assert image.shape == (64, 64, 3)
        assert 1 <= len(labels["boxes"]) <= 6
        assert (labels["masks"].sum(0) <= 1).all()
        np.testing.assert_array_equal(labels["panoptic"] > 0, labels["masks"].any(0))
        for box, mask in zip(labels["boxes"], labels["masks"], strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_objects_are_of_the_stated_size_and_of_every_class():
    data = paste_stickers(40, seed=2)
    boxes, classes = data.source.labels["boxes"].values, data.source.labels["classes"].values
    lengths = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert lengths.max() <= 48
    assert np.quantile(lengths, 0.1) > 18
    assert (np.bincount(classes) / len(classes) > 0.1).all()


def test_a_sticker_shows_its_own_colours_where_its_mask_is():
    """A red apple over a blue wall: what is red is the apple."""
    wall = np.zeros((200, 200, 3), np.uint8)
    wall[..., 2] = 200
    data = paste_stickers(4, classes=("RED APPLE",), photos=[wall], masks=True)
    for image, labels in data:
        red = image[..., 0].astype(int) > image[..., 2].astype(int) + 60
        seen = labels["masks"].any(0)
        assert (red & ~seen).sum() < 0.1 * seen.sum()
        assert (red & seen).sum() > 0.5 * seen.sum()


def test_shadows_darken_part_of_the_ground():
    white = np.full((200, 200, 3), 160, np.uint8)
    for image, labels in paste_stickers(4, photos=[white], masks=True):
        ground = image[~labels["masks"].any(0)].astype(int).max(-1)
        plain = np.median(ground)  # most of the wall is in the light
        assert ((ground > 0.97 * plain) & (ground < 1.03 * plain)).mean() > 0.6
        assert 0.01 < (ground < 0.85 * plain).mean() < 0.3


@pytest.mark.parametrize("classes", ["kinds", "categories"])
def test_no_emoji_is_in_two_splits(classes):
    labels = emoji_classes(classes)[1]
    groups = np.array([each["same_as"] for each in pictures.emoji_names()])
    parts = [np.concatenate(_members(labels, None, split)) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == (labels >= 0).sum()
    seen = [set(groups[part]) for part in parts]
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_splits_show_other_parts_of_a_photograph():
    photo = np.arange(100)[np.newaxis]
    columns = np.concatenate([_part(photo, split)[0] for split in ("train", "validation", "test")])
    np.testing.assert_array_equal(columns, np.arange(100))


def test_styles_differ_in_pixels_and_agree_in_classes():
    one, other = (load(name, size=3, seed=1, scale=None) for name in ("stickers", "stickers:noto"))
    np.testing.assert_array_equal(one.source.labels["classes"].values, other.source.labels["classes"].values)
    assert (one.source.inputs != other.source.inputs).any()
    assert (one.name, other.name) == ("stickers", "stickers:noto")
    assert one.class_names == tuple(pictures.KINDS.values())


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"style": "apple"}, ArgumentError, "style must be one of"),
        ({"classes": "colours"}, ArgumentError, "classes must be one of"),
        ({"classes": ("RED APPEL",)}, UnknownNameError, "RED APPLE"),
        ({"classes": ()}, ArgumentError, "unlike names of emoji"),
        ({"classes": ("red apple", "RED APPLE")}, ArgumentError, "unlike names of emoji"),
        ({"photos": []}, ArgumentError, "at least one image"),
        ({"photos": [np.zeros((200, 200))]}, ArgumentError, "a photo must be a uint8 array"),
        ({"photos": [np.zeros((200, 100, 3), np.uint8)]}, ArgumentError, "160 pixels or more"),
        ({"split": "exam"}, ArgumentError, "split must be one of"),
        ({"size": 0}, ArgumentError, "size must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, kind, text):
    with pytest.raises(kind, match=text):
        paste_stickers(**{"size": 1, **arguments})


def test_unknown_scenes_are_named():
    for name in ("shapes:midle", "stickers:notto"):
        with pytest.raises(UnknownNameError, match="Did you mean"):
            load(name)
