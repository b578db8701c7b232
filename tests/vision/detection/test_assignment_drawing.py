"""Assignment: the predictions that learn an object are those of the targets, and the picture shows them."""

import keras
import numpy as np
import pytest
from two_squares import labels_of

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.core.display.colours import class_colours
from kerasdl.core.errors import DataError
from kerasdl.vision.detection import Detector, FasterRCNN, draw_assignment
from kerasdl.vision.detection.method import true_batch

BOXES, CLASSES = [(8, 6, 40, 34), (30, 36, 58, 62)], [2, 0]
DENSE = ("retinanet", "fcos", "ssd300", "ssdlite320", "yolo_v3", "yolo_v8_n", "centernet", "detr")
LABELS = labels_of([BOXES, []], [CLASSES, []])


def detector_of(name, **settings):
    keras.utils.set_random_seed(1)
    shape = (32 if name == "yolo_v3" else 64,) * 2 + (3,)
    return Detector(kerasdl.build(name, **{**kerasdl.spec(name).tiny, "image_shape": shape, "classes": 3, **settings}))


def images_of(detector, count=2):
    return np.random.default_rng(0).uniform(-1, 1, (count, *detector.input_size)).astype("float32")


def positives(targets):
    """Returns the predictions (B, A) that learn an object, from the record of targets of any method."""
    if isinstance(targets, dict):
        targets = targets["last"]
    if hasattr(targets, "places"):
        found = np.zeros(targets.counts.shape[:3]).reshape(len(targets.places), -1)
        for row, places, positive in zip(found, targets.places.numpy(), targets.positive.numpy(), strict=True):
            row[places[positive > 0]] = 1
        return found > 0
    return np.asarray(targets.positive if hasattr(targets, "positive") else targets.weights) > 0


@pytest.mark.parametrize("name", DENSE)
def test_predictions_that_learn_an_object_are_those_of_the_targets(name):
    detector = detector_of(name)
    images = images_of(detector)
    boxes = [tuple(edge * images.shape[1] / 64 for edge in box) for box in BOXES]
    truth, size = true_batch(labels_of([boxes, []], [CLASSES, []])), images.shape[1:3]
    heads = detector.heads(images)
    starts, matches = detector.method.assign(heads, truth, size)
    matches = np.asarray(matches)
    right = positives(detector.method.targets(heads, truth, size))
    assert ((matches >= 0) | ~right).all()
    assert name == "yolo_v8_n" or ((matches >= 0) == right).all()  # it may choose a place at a quality of 0
    assert set(matches[0][matches[0] >= 0]) == {0, 1}
    assert not (matches[1] >= 0).any()
    starts = np.broadcast_to(np.asarray(starts), (*matches.shape, 4))
    centres = (starts[..., :2] + starts[..., 2:]) / 2
    for number, box in enumerate(boxes if name != "detr" else ()):
        of_object = centres[0][matches[0] == number]
        reach = 0.5 * images.shape[1]  # anchors reach beyond their object, not across the image
        assert (np.abs(of_object - np.mean([box[:2], box[2:]], axis=0)) < reach).all()


def test_the_picture_has_the_colours_of_the_objects_and_of_no_other():
    detector = detector_of("fcos")
    picture = draw_assignment(detector, images_of(detector), LABELS, columns=2, side=256)
    assert picture.shape == (256 + 16, 2 * 256 + 24, 3)
    first, second = picture[:, : 256 + 12], picture[:, 256 + 12 :]
    one, other = (np.array(each) for each in class_colours(2))
    # A thick edge and dots at places inside of the first object.
    assert (first[8 + 4 * 6 + 1, 8 + 4 * 20] == one).all()
    assert (first == one).all(axis=-1).sum() > 4 * 4 * (32 + 28)
    assert (first == other).all(axis=-1).any()
    assert not (second == one).all(axis=-1).any()


def test_proposals_that_learn_an_object_are_drawn():
    networks = {
        role: kerasdl.build(name, **{**kerasdl.spec(name).tiny, **more})
        for role, name, more in (
            ("model", "faster_rcnn", {}),
            ("box_head", "faster_rcnn_box_head", {"proposals": None}),
        )
    }
    detector = FasterRCNN(networks)
    images = images_of(detector, 1)
    (height, width, _) = draw_assignment(detector, images, labels_of([BOXES], [[1, 0]]), side=128).shape
    assert (height, width) == (144, 144)


def test_grey_images_and_images_of_one_value_are_drawn():
    detector = detector_of("yolo_v8_n", image_shape=(64, 96, 1))
    picture = draw_assignment(detector, np.zeros((2, 64, 96, 1), "float32"), LABELS, side=96)
    assert picture.shape == (64 + 16, 2 * 96 + 24, 3)


def test_a_network_of_any_image_size_is_drawn():
    detector = detector_of("fcos", image_shape=(None, None, 3))
    images = np.zeros((1, 64, 96, 3), "float32")
    assert draw_assignment(detector, images, labels_of([BOXES], [CLASSES]), side=96).shape == (80, 112, 3)


def test_what_cannot_be_drawn_is_refused():
    detector = detector_of("fcos")
    images = images_of(detector)
    with pytest.raises(ArgumentError, match="labels must be those of the 1 images"):
        draw_assignment(detector, images[:1], LABELS)
    with pytest.raises(ArgumentError, match="must be a batch"):
        draw_assignment(detector, images[0], LABELS)
    with pytest.raises(ArgumentError, match="side"):
        draw_assignment(detector, images, LABELS, side=8)
    with pytest.raises(ArgumentError, match="columns"):
        draw_assignment(detector, images, LABELS, columns=0)
    with pytest.raises(DataError, match="whole numbers from 0 to 2"):
        draw_assignment(detector, images, labels_of([BOXES, []], [[3, 0], []]))
