"""Drawn scenes: a function of their numbers, boxes exact, of the sizes that the generator states, not trivial."""

import numpy as np
import pytest
from scipy import ndimage

from kerasdl.core.errors import ArgumentError
from kerasdl.core.objects import PredictedObjects, TrueObjects
from kerasdl.data import augment, load
from kerasdl.data.detection import draw_shapes
from kerasdl.data.detection.shapes import DIFFICULTIES, draw_scene
from kerasdl.data.detection.silhouettes import CLASSES
from kerasdl.metrics import MeanAveragePrecision


@pytest.fixture(scope="module")
def scenes():
    return {name: [draw_scene((5, number), level, 128) for number in range(60)] for name, level in DIFFICULTIES.items()}


def test_a_larger_set_begins_with_the_smaller_one_and_seeds_splits_and_levels_differ():
    small, whole = (draw_shapes(size, seed=3, side=64, masks=True) for size in (3, 5))
    np.testing.assert_array_equal(small.source.inputs, whole.source.inputs[:3])
    for name in ("boxes", "classes", "masks"):
        np.testing.assert_array_equal(small.source.labels[name][2], whole.source.labels[name][2])
    others = [
        draw_shapes(3, seed=4, side=64),
        draw_shapes(3, seed=3, side=64, split="test"),
        draw_shapes(3, seed=3, side=64, difficulty="easy"),
    ]
    images = np.concatenate([small.source.inputs, *(each.source.inputs for each in others)])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 12


def test_labels_agree_with_the_masks():
    data = draw_shapes(6, side=96, masks=True, panoptic=True)
    image, labels = data[4]
    assert (image.dtype, image.shape) == (np.uint8, (96, 96, 3))
    assert (data.class_names, data.task) == (CLASSES, "object_detection")
    assert labels["boxes"].dtype == np.float32
    assert labels["classes"].dtype == np.int32
    assert not labels["crowd"].any()
    assert (labels["masks"].sum(0) <= 1).all()
    for box, mask in zip(labels["boxes"], labels["masks"], strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    numbers = labels["panoptic"] % 1000
    counted = np.arange(1, len(labels["masks"]) + 1)[:, np.newaxis, np.newaxis]
    np.testing.assert_array_equal(numbers, (labels["masks"] * counted).sum(0))
    for number, label in enumerate(labels["classes"]):
        assert set(labels["panoptic"][numbers == number + 1]) == {1000 * (label + 1) + number + 1}


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_scenes_are_as_stated(scenes, name):
    counts = [len(each.classes) for each in scenes[name]]
    assert (min(counts), max(counts)) == (3, 8)
    boxes = np.concatenate([each.boxes for each in scenes[name]])
    lengths = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert lengths.max() <= 37
    assert np.quantile(lengths, 0.05) >= (15 if name == "easy" else 12)
    shares = np.bincount(np.concatenate([each.classes for each in scenes[name]]), minlength=6) / len(boxes)
    assert (np.abs(shares - 1 / 6) < 0.08).all()


def test_difficulty_grows_by_overlap_and_clutter(scenes):
    def edges(scene):
        return np.abs(np.diff(scene.image.astype(int), axis=0)).mean()

    means = [np.mean([edges(each) for each in scenes[name]]) for name in DIFFICULTIES]
    assert means == sorted(means)


def test_an_object_is_painted_where_its_mask_is():
    """The median colour inside of an unnoisy object differs from the ground's by the contrast."""
    for number in range(10):
        scene = draw_scene((6, number), DIFFICULTIES["easy"], 128)
        ground = np.median(scene.image[scene.numbers == 0], axis=0)
        for mask in scene.masks.astype(bool):
            assert np.abs(np.median(scene.image[mask], axis=0) - ground).max() > 80


def components(image, bound):
    """Boxes of the connected pixels that differ from the median colour by more than a bound, the largest first."""
    distance = np.abs(image.astype(float) - np.median(image, axis=(0, 1))).max(-1)
    parts, count = ndimage.label(distance > bound)
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    spans = [s for s, area in zip(ndimage.find_objects(parts), areas, strict=True) if area >= 40]
    boxes = [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in spans]
    return PredictedObjects(boxes, np.zeros(len(boxes), int), areas[areas >= 40].astype(float))


def test_threshold_and_components_do_not_solve_the_middle_level(scenes):
    """Classes are not asked for, and the best of many thresholds is taken: the trivial baseline at its best."""
    found = {}
    for name in ("easy", "middle"):
        for bound in (40, 60, 80, 100):
            metric = MeanAveragePrecision(1)
            truth = [TrueObjects(each.boxes, np.zeros(len(each.classes), int)) for each in scenes[name]]
            metric.update_state(truth, [components(each.image, bound) for each in scenes[name]])
            found[name, bound] = metric.result()["AP50"]
    assert max(value for (name, _), value in found.items() if name == "middle") < 0.4
    assert found["easy", 80] > 0.6  # the baseline works where scenes are easy


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": 0}, "size must be"),
        ({"split": "exam"}, "split must be one of"),
        ({"difficulty": "brutal"}, "difficulty must be one of"),
        ({"side": 8}, "side must be"),
        ({"side": 4096}, "32 to 2048"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, text):
    with pytest.raises(ArgumentError, match=text):
        draw_shapes(**{"size": 1, **arguments})


@pytest.mark.parametrize("name", ["shapes:easy", "stickers"])
def test_loaded_panoptic_maps_are_named_as_their_classes_are(name):
    shape = (64, 64, 3)
    maps, semantic = (
        load(name, "test", size=3, labels=kind, image_shape=shape, scale=None) for kind in ("panoptic", "semantic")
    )
    assert maps.task == "panoptic_segmentation"
    assert [*maps.source.labels] == ["panoptic"]
    assert maps.class_names == semantic.class_names == ("ground", *load(name, "test", size=1).class_names)
    for (_, labels), (_, classes) in zip(maps, semantic, strict=True):
        np.testing.assert_array_equal(labels["panoptic"] // 1000, classes["semantic"])
        np.testing.assert_array_equal(labels["panoptic"] % 1000 == 0, classes["semantic"] == 0)
    (_, moved), *_ = maps.batches(3, augment=augment.Flip(1.0))
    np.testing.assert_array_equal(moved["panoptic"], maps.source.labels["panoptic"][:, :, ::-1])
