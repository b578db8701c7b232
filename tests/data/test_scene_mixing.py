"""Scenes that move and mix: boxes against masks, masks against pixels, in pipelines and alone."""

import dataclasses

import numpy as np
import pytest
import squares
import tensorflow as tf
from scipy import ndimage

from kerasdl.core.errors import ArgumentError
from kerasdl.data import as_dataset, augment
from kerasdl.data.augment.scene_mixing import mask_boxes
from kerasdl.data.batching.drawing import mixing_seeds
from kerasdl.data.detection import draw_shapes
from kerasdl.train import RunConfig, fit

SEEDS = [tf.constant([number, 5]) for number in range(3)]
LEVEL = 10.0


def tight(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def painted(count=5, side=40):
    """Images of rectangles that do not touch; each has a level of its own, which is its class too."""
    rng, images, masks, classes = np.random.default_rng(0), np.zeros((count, side, side, 1), "float32"), [], []
    for place in range(count):
        layers = []
        for left in (2, 15, 28)[: place % 4]:
            top, width, height = rng.integers(1, 20), rng.integers(4, 11), rng.integers(5, 18)
            layer = np.zeros((side, side), "uint8")
            layer[top : top + height, left : left + width] = 1
            layers.append(layer)
            classes.append(len(classes) + 1)
            images[place][layer > 0] = LEVEL * classes[-1]
        masks.append(np.array(layers, "uint8").reshape(-1, side, side))
    lengths = [len(each) for each in masks]
    ragged = lambda values: tf.RaggedTensor.from_row_lengths(values, lengths)  # noqa: E731
    values = np.concatenate(masks)
    boxes = np.array([tight(each) for each in values], "float32")
    return tf.constant(images), {"boxes": ragged(boxes), "masks": ragged(values), "classes": ragged(np.array(classes))}


def objects(labels):
    """Yields the image, box, mask and class of every object."""
    for place in range(labels["boxes"].shape[0]):
        rows = (labels[name][place].numpy() for name in ("boxes", "masks", "classes"))
        yield from ((place, *row) for row in zip(*rows, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_of_a_mosaic_are_those_of_the_masks_and_the_masks_those_of_the_pixels(seed):
    images, labels = painted()
    mixed, moved = augment.Mosaic(zoom=(1.0, 1.0))(images, labels, seed)
    seen = list(objects(moved))
    assert len(seen) > 5
    for place, box, mask, label in seen:
        assert box.tolist() == tight(mask)
        np.testing.assert_array_equal(mixed[place].numpy()[mask > 0], LEVEL * label)
    smaller, moved = augment.Mosaic()(images, labels, seed)
    for place, box, mask, label in objects(moved):
        inner = ndimage.binary_erosion(mask)
        np.testing.assert_allclose(smaller[place].numpy()[inner], LEVEL * label, rtol=1e-4)
        if mask.any():
            np.testing.assert_allclose(box, tight(mask), atol=1.0)
    again = augment.Mosaic()(images, labels, seed)
    np.testing.assert_array_equal(again[0], smaller)


def test_a_mosaic_has_its_own_scene_first_and_is_drawn_by_its_chance():
    images, labels = painted()
    none, same = augment.Mosaic(chance=0.0)(images, labels, SEEDS[0])
    np.testing.assert_array_equal(none, images)
    for name, part in labels.items():
        np.testing.assert_array_equal(same[name].values, part.values)
    half = [augment.Mosaic(chance=0.5)(images, labels, seed)[0].numpy() for seed in SEEDS]
    kept = np.mean([(each == images.numpy()).all((1, 2, 3)) for each in half])
    assert 0.2 < kept < 0.8
    own, _ = augment.Mosaic(zoom=(1.0, 1.0))(
        tf.constant(np.arange(5.0)[:, None, None, None] * np.ones((5, 16, 16, 1))), labels, SEEDS[0]
    )
    assert own[:, 0, 0, 0].numpy().tolist() == [0, 1, 2, 3, 4]


def test_mixup_blends_pixels_and_joins_objects():
    images, labels = painted()
    mixed, moved = augment.SceneMixup(share=(0.3, 0.3))(images, labels, SEEDS[1])
    counts = labels["boxes"].row_lengths().numpy()
    assert moved["boxes"].row_lengths().numpy().sum() == 2 * counts.sum()
    for place in range(5):
        mine = set(labels["classes"][place].numpy())
        added = set(moved["classes"][place].numpy()) - mine
        for _, box, mask, label in (each for each in objects(moved) if each[0] == place):
            assert box.tolist() == tight(mask)
            share = 0.7 if label in mine else 0.3
            expected = share * LEVEL * label
            assert (mixed[place].numpy()[mask > 0] >= expected - 1e-3).all()
        assert not added & mine
    same, few = augment.SceneMixup(chance=0.0)(images, labels, SEEDS[1])
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(few["boxes"].values, labels["boxes"].values)


@pytest.mark.parametrize("seed", SEEDS)
def test_pasted_objects_cover_and_boxes_shrink_to_what_is_visible(seed):
    images, labels = painted()
    mixed, moved = augment.CopyPaste(share=0.7)(images, labels, seed)
    seen = list(objects(moved))
    for place, box, mask, label in seen:
        assert mask.any()
        assert box.tolist() == tight(mask)
        np.testing.assert_array_equal(mixed[place].numpy()[mask > 0], LEVEL * label)
    for place in range(5):
        layers = [mask for at, _, mask, _ in seen if at == place]
        assert not layers or np.sum(layers, 0).max() == 1
    unchanged, few = augment.CopyPaste(share=0.0)(images, labels, seed)
    np.testing.assert_array_equal(unchanged, images)
    np.testing.assert_array_equal(few["boxes"].values, labels["boxes"].values)


def test_some_objects_are_pasted():
    images, labels = painted()
    counts = [augment.CopyPaste()(images, labels, seed)[1]["boxes"].values.shape[0] for seed in SEEDS]
    assert max(counts) > labels["boxes"].values.shape[0]


def test_boxes_of_masks():
    masks = np.zeros((3, 6, 8), "uint8")
    masks[0, 2:4, 3:7] = 1
    masks[1, 5, 0] = 1
    assert mask_boxes(tf.constant(masks)).numpy().tolist() == [[3, 2, 7, 4], [0, 5, 1, 6], [0, 0, 0, 0]]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crop_keeps_an_object_whole(seed):
    boxes = np.array([[2, 3, 12, 9], [30, 20, 38, 39]], "float32")
    crop = augment.ObjectCrop((40, 40), share=(0.05, 0.3))
    masks = np.zeros((40, 40, 2), "uint8")
    for place, (left, top, right, bottom) in enumerate(boxes.astype(int)):
        masks[top:bottom, left:right, place] = 1
    found = crop.with_targets(np.zeros((40, 40, 3)), seed, boxes=boxes, masks=masks)
    warp = crop._drawn(np.zeros((40, 40, 3)), seed, boxes).back.numpy()
    zoom = 1 / warp[0, 0] / warp[1, 1]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * zoom
    new = found["boxes"].numpy()
    whole = np.abs((new[:, 2] - new[:, 0]) * (new[:, 3] - new[:, 1]) - areas) < 1e-2 * areas
    assert (whole & found["kept"].numpy()).any()
    for place in np.flatnonzero(whole):
        np.testing.assert_allclose(new[place], tight(found["masks"].numpy()[..., place]), atol=1 + 0.5 / warp[0, 0])
    empty = crop.with_targets(np.zeros((40, 40, 3)), seed, boxes=np.zeros((0, 4), "float32"))
    assert empty["boxes"].shape == (0, 4)


def scenes(**settings):
    return draw_shapes(8, side=48, seed=1, **settings)


@pytest.mark.parametrize("change", [augment.Flip(1.0), augment.Flip(0.0, 1.0)], ids=["across", "down"])
def test_flips_of_a_dataset_are_exact_for_boxes_masks_and_maps(change):
    data = scenes(masks=True, panoptic=True)
    for _, labels in data.batches(4, augment=change):
        for place in range(4):
            masks, panoptic = labels["masks"][place].numpy(), labels["panoptic"][place].numpy()
            assert labels["boxes"][place].numpy().tolist() == [tight(mask) for mask in masks]
            np.testing.assert_array_equal(panoptic > 0, masks.any(0))
            for mask, label in zip(masks, labels["classes"][place].numpy(), strict=True):
                assert set(panoptic[mask > 0] // 1000) == {label + 1}
    images = np.concatenate([images.numpy() for images, _ in data.batches(4, augment=change)])
    axis = 2 if change.horizontal else 1
    np.testing.assert_array_equal(images, np.flip(data.source.inputs, axis).astype("float32"))


def test_zoomed_scenes_lose_objects_with_their_masks_and_classes():
    data = scenes(masks=True)
    change, before, after = augment.ScaleJitter((1.5, 3.0)), data.source.labels["boxes"].lengths.sum(), 0
    for _, labels in data.batches(4, augment=change, seed=3):
        lengths = labels["boxes"].row_lengths().numpy()
        after += lengths.sum()
        assert all((part.row_lengths().numpy() == lengths).all() for part in labels.values())
        for box, mask in zip(labels["boxes"].values.numpy(), labels["masks"].values.numpy(), strict=True):
            left, top, right, bottom = tight(mask)
            assert (np.array([left + 1, top + 1, -right + 1, -bottom + 1]) >= box * (1, 1, -1, -1) - 2).all()
    assert 0 < after < before


@pytest.mark.parametrize("mix", [augment.Mosaic(), augment.CopyPaste()], ids=["mosaic", "paste"])
def test_batches_of_scenes_are_mixed_by_the_seed(mix):
    """The batch of a pipeline is that of the mix alone, by the seed of the batch."""
    data = scenes(masks=True)
    (images, labels) = next(iter(data.batches(4, mix=mix, seed=3)))
    rows = slice(0, 4)
    plain = {name: part.tensor()[rows] for name, part in data.source.labels.items()}
    expected, moved = mix(data.source.inputs[rows], plain, tf.constant(mixing_seeds(3, 0, 2)[0]))
    np.testing.assert_allclose(images, expected, atol=1e-3)
    assert set(labels) == {"boxes", "classes", "crowd", "masks"}
    for name, part in moved.items():
        np.testing.assert_allclose(labels[name].values, part.values, atol=1e-4)


def test_areas_go_where_pixels_move():
    data = scenes()
    labels = data.source.labels
    examples = dataclasses.replace(data.source, labels={**labels, "areas": labels["crowd"]})
    data = data.of_examples(examples)
    assert "areas" in data.batches(2).element_spec[1]
    changed = data.batches(2, augment=augment.Flip(), mix=augment.SceneMixup())
    assert set(changed.element_spec[1]) == {"boxes", "classes", "crowd"}


@pytest.mark.parametrize(
    ("settings", "mix", "text"),
    [
        ({}, augment.CopyPaste(), "CopyPaste needs masks"),
        ({"panoptic": True}, augment.Mosaic(), r"got \"\['panoptic'\] of one row"),
        ({}, augment.Mixup(6), "several arrays"),
    ],
)
def test_what_cannot_be_mixed_is_refused(settings, mix, text):
    with pytest.raises(ArgumentError, match=text):
        scenes(**settings).batches(2, mix=mix)


@pytest.mark.parametrize(
    "make",
    [
        lambda: augment.Mosaic(zoom=(0.0, 1.0)),
        lambda: augment.Mosaic(chance=2),
        lambda: augment.SceneMixup(share=(0.0, 2.0)),
        lambda: augment.SceneMixup(chance=-1),
        lambda: augment.CopyPaste(share=2),
        lambda: augment.ScaleJitter((0.0, 1.0)),
        lambda: augment.ObjectCrop((0, 8)),
        lambda: augment.ObjectCrop((8, 8), share=(0, 2)),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ArgumentError, match="must be"):
        make()


def test_fit_trains_a_detector_on_mosaics():
    images, labels = squares.scenes(32)
    trainer = squares.Detecting({"model": squares.detector()})
    config = RunConfig(epochs=1, batch_size=8, mix=augment.Mosaic(zoom=(0.9, 1.0)), augment=augment.Flip())
    run = fit(trainer, as_dataset((images, labels)), config=config)
    assert np.isfinite(run.history["loss"]).all()
