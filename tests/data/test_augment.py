"""Augmentation: drawn by the seed alone, in range, exact where it can be; Pillow as the oracle of its operations."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data import augment
from kerasdl.data.augment import levels
from kerasdl.train import RunConfig, fit

RNG = np.random.default_rng(0)
SEED = tf.constant([3, 7])
EVERY = {
    "Flip": augment.Flip(0.5, 0.5),
    "Crop": augment.Crop(4),
    "ResizedCrop": augment.ResizedCrop((20, 24)),
    "Affine": augment.Affine(20, 0.2, 0.2, 0.1),
    "ScaleJitter": augment.ScaleJitter(),
    "ObjectCrop": augment.ObjectCrop((20, 24)),
    "Colour": augment.Colour(0.4, 0.4, 0.4, 0.1, 0.2),
    "Blur": augment.Blur(),
    "Erase": augment.Erase(),
    "RandAugment": augment.RandAugment(2, 15),
    "AugMix": augment.AugMix(),
    "Chain": augment.Chain((augment.Flip(), augment.Crop(3), augment.Erase())),
    "Sometimes": augment.Sometimes(augment.Blur(), 0.5),
}


def photo(height=24, width=28, channels=3):
    """Smooth, so that bilinear pixels mean something."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return (np.sin(0.3 * x + c) * np.cos(0.2 * y)).astype("float32")


def seeds(count):
    return [tf.constant([index, 11]) for index in range(count)]


def test_every_transform_is_here():
    apart = {"Mixup", "CutMix", "Either", "smoothed", "Mosaic", "SceneMixup", "CopyPaste"}
    assert set(EVERY) | apart == set(augment.__all__)


# AugMix traces 81 branches.
NAMED = [pytest.param(name, marks=pytest.mark.slow) if name == "AugMix" else name for name in EVERY]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_seed_says_all_and_the_range_is_kept(name, channels):
    image, transform = photo(channels=channels), EVERY[name]
    run = tf.function(transform)
    one, again = run(image, SEED).numpy(), transform(image, SEED).numpy()
    np.testing.assert_allclose(one, again, atol=1e-5)
    assert one.dtype == np.float32
    assert one.shape == ((20, 24, channels) if name in ("ResizedCrop", "ObjectCrop") else image.shape)
    several = [run(image, seed).numpy() for seed in seeds(12)]
    assert any(np.abs(each - one).max() > 1e-3 for each in several)
    assert all(each.min() >= -1.001 and each.max() <= 1.001 for each in several)


@pytest.mark.parametrize("name", NAMED)
def test_transforms_run_in_a_pipeline_with_unknown_sides(name):
    def examples():
        yield photo(30, 26)
        yield photo(17, 33)

    pipeline = tf.data.Dataset.from_generator(examples, output_signature=tf.TensorSpec((None, None, 3)))
    shapes = [each.shape for each in pipeline.map(lambda image: EVERY[name](image, SEED))]
    assert shapes == ([(20, 24, 3)] * 2 if name in ("ResizedCrop", "ObjectCrop") else [(30, 26, 3), (17, 33, 3)])


def test_strength_zero_is_the_identity():
    image = photo()
    for transform in (
        augment.Flip(0.0),
        augment.Crop(0),
        augment.Affine(),
        augment.Colour(),
        augment.ResizedCrop(image.shape[:2], (1.0, 1.0), (28 / 24, 28 / 24)),
        augment.Sometimes(augment.Erase(), 0.0),
    ):
        np.testing.assert_allclose(transform(image, SEED), image, atol=2e-5)


def test_half_of_the_images_are_flipped_and_flips_are_exact():
    image = photo()
    results = [augment.Flip()(image, seed).numpy() for seed in seeds(200)]
    turned = sum(np.array_equal(each, image[:, ::-1]) for each in results)
    assert turned + sum(np.array_equal(each, image) for each in results) == 200
    assert 75 < turned < 125
    np.testing.assert_array_equal(augment.Flip(0.0, 1.0)(image, SEED), image[::-1])


def test_crops_move_by_whole_pixels_evenly():
    image = photo()
    offsets = set()
    for seed in seeds(60):
        moved = augment.Crop(1)(image, seed).numpy()
        found = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if np.array_equal(moved[1:-1, 1:-1], np.roll(image, (dy, dx), (0, 1))[1:-1, 1:-1])
        ]
        assert len(found) == 1
        offsets |= set(found)
    assert len(offsets) == 9


def test_a_quarter_turn_is_exact():
    image = photo(25, 25)
    warp = augment.geometry.centred(25.0, 25.0, np.pi / 2, 0.0, 0.0, 1.0, 0.0, 0.0)
    turned = augment.transforms.moved(image, warp, "BILINEAR", 0.0)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-4)


def test_blur_keeps_the_sum_and_spreads_a_point():
    point = np.zeros((31, 31, 1), "float32")
    point[15, 15] = 1.0
    blurred = augment.Blur((1.5, 1.5))(point, SEED).numpy()[:, :, 0]
    assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
    places = np.arange(31) - 15
    assert (blurred.sum(0) * places**2).sum() == pytest.approx(1.5**2, rel=0.02)


def test_erased_rectangles_have_the_share_that_was_drawn():
    shares = [1 - augment.Erase((0.1, 0.3))(np.ones((40, 50, 1)), seed).numpy().mean() for seed in seeds(40)]
    assert 0.08 < min(shares) < 0.15
    assert 0.25 < max(shares) < 0.33


# Pillow's own words for the operations.
PILLOW = {
    "autocontrast": (levels.autocontrast, 0.0, lambda image, _: ImageOps.autocontrast(image)),
    "equalize": (levels.equalize, 0.0, lambda image, _: ImageOps.equalize(image)),
    "posterize": (levels.posterize, 3.0, lambda image, bits: ImageOps.posterize(image, int(bits))),
    "solarize": (levels.solarize, 100.0, ImageOps.solarize),
    "colour": (levels.colour, 1.6, lambda image, factor: ImageEnhance.Color(image).enhance(factor)),
    "less colour": (levels.colour, 0.3, lambda image, factor: ImageEnhance.Color(image).enhance(factor)),
    "contrast": (levels.contrast, 1.7, lambda image, factor: ImageEnhance.Contrast(image).enhance(factor)),
    "brightness": (levels.brightness, 0.6, lambda image, factor: ImageEnhance.Brightness(image).enhance(factor)),
    "sharpness": (levels.sharpness, 1.8, lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor)),
    "less sharpness": (levels.sharpness, 0.1, lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor)),
}


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("kind", ["smooth", "noise", "flat"])
def test_operations_are_those_of_pillow(name, kind):
    operation, strength, theirs = PILLOW[name]
    pixels = {
        "smooth": (photo(32, 40) * 80 + 120).astype("uint8"),
        "noise": RNG.integers(0, 256, (32, 40, 3), dtype=np.uint8),
        "flat": np.full((32, 40, 3), 77, np.uint8),
    }[kind]
    expected = np.asarray(theirs(Image.fromarray(pixels), strength)).astype(int)
    given = operation(tf.constant(pixels, tf.float32), strength).numpy()
    assert (given == np.round(given)).all()
    assert np.abs(given - expected).max() <= 1


def test_turned_and_leaning_images_are_those_of_pillow():
    pixels = (photo(32, 32) * 80 + 120).astype("uint8")
    expected = np.asarray(Image.fromarray(pixels).rotate(20, Image.Resampling.BILINEAR)).astype(int)
    given = levels.rotate(tf.constant(pixels, tf.float32), 20.0).numpy()
    inner = np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 14
    assert np.abs(given - expected)[inner].max() <= 2


def test_magnitude_zero_leaves_what_has_a_strength():
    x = tf.constant(RNG.integers(0, 256, (9, 9, 3)), tf.float32)
    for name, run in {**levels.PLACES, **levels.ENHANCEMENTS}.items():
        np.testing.assert_allclose(run(x, 0.0, 1.0), x, atol=1.0, err_msg=name)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["Flip", "Crop", "ResizedCrop", "Affine", "ScaleJitter", "ObjectCrop", "Chain"]),
)
def test_boxes_and_masks_move_with_the_image(number, name):
    """A painted rectangle is found where its box and its mask went."""
    image, mask = np.zeros((40, 48, 1), "float32"), np.zeros((40, 48), "int32")
    image[10:22, 16:34], mask[10:22, 16:34] = 1.0, 3
    transform = EVERY[name]
    found = transform.with_targets(image, tf.constant([number, 1]), boxes=[[16, 10, 34, 22]], masks=mask)
    if name not in ("Chain", "ObjectCrop"):  # the last transform of one paints over, the other looks at the boxes
        np.testing.assert_allclose(found["image"], transform(image, tf.constant([number, 1])), atol=1e-6)
    left, top, right, bottom = found["boxes"][0].numpy()
    rows, columns = np.nonzero(found["masks"].numpy())
    assert set(np.unique(found["masks"])) <= {0, 3}
    if len(rows):
        assert columns.min() + 1 >= left - 0.01
        assert columns.max() <= right + 0.01
        assert rows.min() + 1 >= top - 0.01
        assert rows.max() <= bottom + 0.01
    if name in ("Flip", "Crop") and found["kept"][0]:
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)
    lit = found["image"].numpy()[:, :, 0] > 0.5
    assert (lit <= (found["masks"].numpy() == 3)).mean() > 0.95


@pytest.mark.parametrize("policy", [augment.RandAugment(), augment.AugMix()])
def test_policies_leave_no_box_behind(policy):
    image, seed = np.zeros((8, 8, 3), "float32"), tf.constant([0, 1])
    assert list(policy.with_targets(image, seed)) == ["image"]
    for targets in ({"boxes": [[0, 0, 4, 4]]}, {"masks": np.zeros((8, 8), int)}):
        with pytest.raises(ArgumentError, match="transforms that move them"):
            augment.Chain((augment.Flip(), policy)).with_targets(image, seed, **targets)


def test_boxes_that_leave_the_image_are_not_kept():
    crop = augment.ResizedCrop((10, 10), (0.05, 0.05))
    found = [crop.with_targets(np.zeros((40, 40, 1)), seed, boxes=[[0, 0, 20, 20]]) for seed in seeds(30)]
    assert {bool(each["kept"][0]) for each in found} == {False, True}
    for each in found:
        assert (each["boxes"].numpy() >= 0).all()
        assert (each["boxes"].numpy() <= 10).all()


@pytest.mark.parametrize("kind", [augment.Mixup, augment.CutMix])
def test_labels_are_mixed_as_the_pixels_are(kind):
    """Images of one level each: the mean of the result is the sum of levels by their shares."""
    images = np.stack([np.full((16, 16, 1), level, "float32") for level in range(5)])
    for seed in seeds(12):
        mixed, shares = kind(classes=5)(images, tf.range(5), seed)
        np.testing.assert_allclose(shares.numpy().sum(1), 1.0, atol=1e-6)
        np.testing.assert_allclose(mixed.numpy().mean((1, 2, 3)), shares.numpy() @ np.arange(5.0), atol=1e-4)
        assert (shares.numpy().diagonal() > 0).any() or kind is augment.CutMix


def test_each_of_several_ways_has_its_turn():
    images, labels = RNG.normal(size=(4, 8, 8, 3)).astype("float32"), tf.constant([0, 2, 1, 2])
    ways = augment.Mixup(3, alpha=1.0), augment.CutMix(3)
    compiled, turns = tf.function(augment.Either(ways)), []
    for seed in seeds(30):
        mixed = compiled(images, labels, seed)[0]
        own = tf.random.experimental.stateless_fold_in(seed, 5)
        made = [way(images, labels, own)[0] for way in ways]
        turns.append(next(number for number, each in enumerate(made) if np.allclose(mixed, each)))
    assert 5 < sum(turns) < 25


@pytest.mark.parametrize("kind", [augment.Mixup, augment.CutMix])
def test_shares_and_integers_give_the_same(kind):
    images, labels = RNG.normal(size=(4, 8, 8, 3)), tf.constant([0, 2, 1, 2])
    by_number = kind(classes=3, smoothing=0.1)(images, labels, SEED)
    by_share = kind(classes=3, smoothing=0.1)(images, tf.one_hot(labels, 3), SEED)
    for one, other in zip(by_number, by_share, strict=True):
        np.testing.assert_array_equal(one, other)


def test_settings_are_checked_and_told_apart():
    for make, match in {
        lambda: augment.Flip(1.2): "horizontal must be",
        lambda: augment.RandAugment(0): "count must be",
        lambda: augment.RandAugment(2, 31): "magnitude must be",
        lambda: augment.Affine(rotate=200): "rotate must be",
        lambda: augment.Mixup(1): "classes must be",
        lambda: augment.ResizedCrop((0, 4)): "a side of size",
        lambda: augment.smoothed(tf.constant([0]), 4, 1.0): "smoothing must be",
    }.items():
        with pytest.raises(ArgumentError, match=match):
            make()
    one, other = (RunConfig(augment=augment.Chain((augment.Flip(), augment.RandAugment(2, m)))) for m in (9, 10))
    assert json.dumps(one.describe()) != json.dumps(other.describe())


@pytest.mark.parametrize("form", ["bare", "channel", "classes that overlap", "image"])
def test_bare_labels_of_the_size_of_an_image_move_with_it(form):
    images = np.zeros((32, 16, 16, 3), "float32")
    images[:, :, :8] = 1
    maps = images[..., 0].astype("int32")
    forms = {"bare": maps, "channel": maps[..., None], "classes that overlap": images.astype("uint8"), "image": images}
    data = kerasdl.data.as_dataset((images, forms[form]))
    chain = augment.Chain((augment.Flip(), augment.Crop(4)))
    moved, labels = (each.numpy() for each in next(iter(data.batches(32, augment=chain))))
    labels = labels.reshape(32, 16, 16, -1)[..., 0]
    outside = labels == (0 if form == "image" else 255)
    assert 0 < np.mean(outside) < 1
    assert np.any(moved[:, 8, 2, 0] != moved[0, 8, 2, 0])
    sure = ~outside & ((moved[..., 0] == 0) | (moved[..., 0] == 1))
    np.testing.assert_array_equal(labels[sure], moved[..., 0][sure])


@pytest.mark.parametrize(
    "change", [augment.Flip(), augment.Sometimes(augment.Chain((augment.Blur(), augment.Crop(2))))]
)
@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_maps_under_a_name_that_does_not_move_are_refused(change, kind):
    images, maps = np.zeros((4, 8, 8, 3), "float32"), np.zeros((4, 8, 8), kind)
    labels = {"semantic": maps.astype("uint8"), "depth": maps, "kind": np.zeros(4, "int32")}
    data = kerasdl.data.as_dataset((images, labels))
    with pytest.raises(ArgumentError, match=r"to move with it; got .*'depth'"):
        data.batches(4, augment=change)
    alone = kerasdl.data.as_dataset((images, {"mask": maps}))
    if kind == "int32":
        with pytest.raises(ArgumentError, match=r"to move with it; got .*'mask'"):
            alone.batches(4, augment=lambda image, seed: image)
    (_, labels), *_ = alone.batches(4, augment=augment.Blur())  # moves nothing
    np.testing.assert_array_equal(labels["mask"], maps)


def test_bare_maps_that_cannot_move_are_refused():
    images = np.zeros((4, 8, 8, 3), "float32")
    for labels, change, match in (
        (np.zeros((4, 8, 8), "int32"), lambda image, seed: image, "move maps"),
        (np.zeros((4, 8, 8), "float32"), augment.Flip(), "whole numbers"),
    ):
        with pytest.raises(ArgumentError, match=match):
            kerasdl.data.as_dataset((images, labels)).batches(4, augment=change)


def test_runs_with_augmentation_are_the_same_twice_and_differ_from_plain_ones():
    data = kerasdl.data.load("digits").take(96)
    chain = augment.Chain((augment.Affine(10, zoom=0.1), augment.Crop(2), augment.Erase()))

    def run(transform):
        kerasdl.set_seed(0)
        model = kerasdl.build("lenet5", hidden=(16,), channels=(4, 8))
        fit(model, data, config=RunConfig(epochs=2, batch_size=32, augment=transform, progress="off"))
        return model.get_weights()

    one, again, plain = run(chain), run(chain), run(None)
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(np.abs(first - other).max() > 1e-4 for first, other in zip(one, plain, strict=True))


def test_one_choice_inside_another_is_drawn_anew():
    ways = [lambda images, labels, seed, value=value: (images * 0 + value, labels) for value in (1.0, 2.0, 3.0)]
    inner = augment.Either((augment.Either((ways[0], ways[1])), ways[2]))
    images = tf.zeros((1, 2, 2, 1))
    values = [float(inner(images, tf.zeros((1, 2)), seed)[0][0, 0, 0, 0]) for seed in seeds(300)]
    shares = [values.count(value) / 300 for value in (1.0, 2.0, 3.0)]
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.5], atol=0.09)
    twice = augment.Sometimes(augment.Sometimes(augment.Flip(1.0), 0.5), 0.5)
    image = tf.reshape(tf.range(4.0), (1, 4, 1))
    flipped = np.mean([float(twice(image, seed)[0, 0, 0]) > 1 for seed in seeds(300)])
    assert flipped == pytest.approx(0.25, abs=0.09)
