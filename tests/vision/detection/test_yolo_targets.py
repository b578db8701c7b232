"""Targets of YOLOv3 and YOLOv8 against plain loops, and boxes that come back from heads that say them."""

import math

import numpy as np
import pytest
import tensorflow as tf
from test_dense_targets import BOXES, CLASSES, SIZE, iou, truth_of

from kerasdl.ops import nms
from kerasdl.vision.detection.yolo_v3 import ANCHORS, YOLOv3Method
from kerasdl.vision.detection.yolo_v8 import YOLOv8Method

STRIDES = (8, 16, 32)
WIDTH = 5 + 3


def v3_heads(flat=None):
    """Heads of zeros, or those that hold (A, 8) numbers."""
    heads, start = {}, 0
    for stride in STRIDES:
        shape = (1, SIZE[0] // stride, SIZE[1] // stride, 3 * WIDTH)
        count = math.prod(shape) // WIDTH
        values = np.zeros((count, WIDTH)) if flat is None else flat[start : start + count]
        heads[f"objects_stride{stride}"], start = tf.constant(values.reshape(shape), tf.float32), start + count
    return heads


def v3_anchors():
    for level, stride in enumerate(STRIDES):
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                for width, height in ANCHORS[3 * level : 3 * level + 3]:
                    yield stride, column * stride, row * stride, width, height


def test_each_box_of_yolo_v3_takes_the_anchor_of_its_shape_in_its_cell():
    found = YOLOv3Method().targets(v3_heads(), truth_of(), SIZE)
    wanted = {}
    for number, (left, top, right, bottom) in enumerate(BOXES):
        width, height = right - left, bottom - top
        shapes = [iou((0, 0, width, height), (0, 0, *anchor)) for anchor in ANCHORS]
        best = ANCHORS[int(np.argmax(shapes))]
        x, y = (left + right) / 2, (top + bottom) / 2
        for place, (stride, column, row, *sides) in enumerate(v3_anchors()):
            if tuple(sides) == best and 0 <= x - column < stride and 0 <= y - row < stride:
                wanted.setdefault(place, (number, stride, x - column, y - row, width / sides[0], height / sides[1]))
    positive = np.flatnonzero(found.positive[0])
    assert positive.tolist() == sorted(wanted)
    assert len(wanted) >= 3
    for place, (number, stride, x, y, wide, high) in wanted.items():
        box = BOXES[number]
        assert found.classes[0, place].numpy().argmax() == CLASSES[number]
        assert found.centres[0, place].numpy() == pytest.approx([x / stride, y / stride], abs=1e-6)
        assert found.sides[0, place].numpy() == pytest.approx([math.log(wide), math.log(high)], abs=1e-5)
        share = (box[2] - box[0]) * (box[3] - box[1]) / (SIZE[0] * SIZE[1])
        assert float(found.weights[0, place]) == pytest.approx(2 - share, abs=1e-5)
    assert float(found.number[0]) == 4
    for place, (stride, column, row, width, height) in enumerate(v3_anchors()):
        middle = column + stride / 2, row + stride / 2  # zeros decode to the anchor in the middle of its cell
        box = (middle[0] - width / 2, middle[1] - height / 2, middle[0] + width / 2, middle[1] + height / 2)
        near = max(iou(box, each) for each in BOXES) >= 0.5
        assert found.counts[0, place] == (place in wanted or not near), (place, box)


def test_yolo_v3_heads_that_say_the_targets_decode_to_the_true_boxes():
    method = YOLOv3Method()
    found = method.targets(v3_heads(), truth_of(), SIZE)
    centre = np.clip(found.centres[0], 1e-6, 1 - 1e-6)
    sure = 40 * found.positive[0].numpy()[:, None] - 20
    flat = np.concatenate([np.log(centre / (1 - centre)), found.sides[0], sure, 40 * found.classes[0] - 20], axis=-1)
    heads = v3_heads(flat)
    boxes, scores = method.decode(heads, SIZE)
    kept = nms(boxes, scores, overlap=0.9, min_score=0.5)
    seen = kept.boxes[0, : int(kept.count[0])].numpy()
    taken = {int(np.abs(np.array(BOXES) - box).max(axis=1).argmin()) for box in seen}
    assert len(seen) == int(found.positive.numpy().sum()) == len(taken)
    assert max(np.abs(np.array(BOXES) - box).max(axis=1).min() for box in seen) < 1e-2
    loss = method.loss(heads, method.targets(heads, truth_of(), SIZE), SIZE)
    assert max(float(loss[part][0]) for part in ("sides", "objects", "classes")) < 1e-4
    worse = method.loss(v3_heads(flat + 1.0), found, SIZE)
    for part in ("centres", "sides", "objects", "classes"):
        assert float(worse[part][0]) > float(loss[part][0]), part


def v8_heads(distances, classes, bins=16):
    """Heads whose distributions stand at given distances (A, 4) in strides."""
    low = np.floor(distances).astype(int)
    logits = np.full((*distances.shape, bins), -30.0)
    for shift, share in ((0, 1 - (distances - low)), (1, distances - low)):
        np.put_along_axis(logits, np.minimum(low + shift, bins - 1)[..., None], np.log(share + 1e-12)[..., None], -1)
    heads, start = {}, 0
    for stride in STRIDES:
        rows, columns = SIZE[0] // stride, SIZE[1] // stride
        part = slice(start, start + rows * columns)
        heads[f"boxes_stride{stride}"] = tf.constant(logits[part].reshape(1, rows, columns, 4 * bins), tf.float32)
        heads[f"classes_stride{stride}"] = tf.constant(classes[part].reshape(1, rows, columns, 3), tf.float32)
        start = part.stop
    return heads


def test_yolo_v8_places_that_fit_best_are_positive_and_say_how_well():
    """Every place tells the nearest true box, so that places inside have an overlap of 1."""
    method = YOLOv8Method()
    points, strides = method.places(v8_heads(np.zeros((126, 4)), np.zeros((126, 3))))
    owner = [min(range(4), key=lambda number: _outside(point, BOXES[number]) * 1000 + number) for point in points]
    edges = np.array([BOXES[number] for number in owner], float)
    distances = np.concatenate([points - edges[:, :2], edges[:, 2:] - points], axis=1) / strides[:, None]
    inside = distances.min(axis=1) > 0
    classes = np.full((126, 3), -20.0)
    classes[np.arange(126), [CLASSES[number] for number in owner]] = 20.0
    heads = v8_heads(np.clip(distances, 0, 14.9), classes)
    boxes, _ = method.decode(heads, SIZE)
    np.testing.assert_allclose(boxes[0].numpy()[inside], edges[inside], atol=1e-2)
    found = method.targets(heads, truth_of(), SIZE)
    positive = found.weights[0].numpy() > 0
    assert positive.any()
    assert not (positive & ~inside).any()
    np.testing.assert_allclose(found.weights[0].numpy()[positive], 1.0, atol=2e-2)
    for number in range(4):
        of_box = [place for place in np.flatnonzero(positive) if owner[place] == number]
        assert len(of_box) <= 10
        for place in of_box:
            assert found.boxes[0, place].numpy().tolist() == list(BOXES[number])
            assert found.classes[0, place].numpy().argmax() == CLASSES[number]
    confident = method.loss(heads, found, SIZE)
    classes[~positive] = -20.0
    loss = method.loss(v8_heads(np.clip(distances, 0, 14.9), classes), found, SIZE)
    assert float(confident["classes"][0]) > 1 + float(loss["classes"][0])  # of places that are not positive
    assert float(loss["boxes"][0]) < 0.1
    assert float(loss["classes"][0]) < 0.1
    moved = method.loss(v8_heads(np.clip(distances + 0.7, 0, 14.9), classes), found, SIZE)
    assert float(moved["boxes"][0]) > 10 * float(loss["boxes"][0])
    assert float(moved["distances"][0]) > float(loss["distances"][0]) + 0.1


def _outside(point, box):
    return max(box[0] - point[0], point[0] - box[2], box[1] - point[1], point[1] - box[3], 0)
