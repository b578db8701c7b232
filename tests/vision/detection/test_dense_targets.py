"""Targets of RetinaNet and FCOS against plain loops over anchors and places, and boxes that come back from them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.ops import nms
from kerasdl.vision.detection.fcos import FCOSMethod
from kerasdl.vision.detection.method import TrueBatch
from kerasdl.vision.detection.retinanet import RetinaMethod

SIZE = (64, 96)
STRIDES = (8, 16, 32)
BOXES = [(3, 5, 30, 40), (50, 2, 90, 60), (32, 32, 44, 45), (33, 33, 43, 43)]
CLASSES = [2, 0, 1, 1]


def heads_of(boxes, classes=3, **more):
    """Heads of zeros of each level."""
    kinds = {"classes": boxes * classes, "boxes": boxes * 4, **more}
    return {
        f"{kind}_stride{stride}": tf.zeros((1, SIZE[0] // stride, SIZE[1] // stride, width))
        for kind, width in kinds.items()
        for stride in STRIDES
    }


def truth_of(boxes=BOXES, classes=CLASSES):
    count = len(boxes)
    valid = np.arange(count + 1)[None] < count
    padded = np.concatenate([np.reshape(boxes, (count, 4)), np.zeros((1, 4))]).astype("float32")[None]
    return TrueBatch(
        tf.constant(padded), tf.constant([[*classes, 0]], tf.int32), tf.constant(valid), tf.zeros_like(valid)
    )


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area - both)


def retina_anchors():
    """Anchors of torchvision: cell corners, nine boxes, edges rounded to pixels."""
    for stride in STRIDES:
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                for ratio in (0.5, 1.0, 2.0):
                    for octave in range(3):
                        side = int(4 * stride * 2 ** (octave / 3))
                        height, width = side * math.sqrt(ratio), side / math.sqrt(ratio)
                        x, y = column * stride, row * stride
                        half = round(width / 2), round(height / 2)
                        yield x - half[0], y - half[1], x + half[0], y + half[1]


def test_retina_anchors_are_positive_ignored_or_background_by_their_best_box():
    anchors = list(retina_anchors())
    found = RetinaMethod().targets(heads_of(9), truth_of(), SIZE)
    assert len(anchors) == found.positive.shape[1]
    best_of_box = [max(iou(anchor, box) for anchor in anchors) for box in BOXES]
    kinds = {"positive": 0, "ignored": 0, "background": 0}
    for place, anchor in enumerate(anchors):
        overlaps = [iou(anchor, box) for box in BOXES]
        best = int(np.argmax(overlaps))
        rescued = any(value > 0 and abs(value - top) < 1e-7 for value, top in zip(overlaps, best_of_box, strict=True))
        kind = "positive" if overlaps[best] >= 0.5 or rescued else "ignored" if overlaps[best] >= 0.4 else "background"
        kinds[kind] += 1
        assert found.positive[0, place] == (kind == "positive"), (place, overlaps)
        assert found.counts[0, place] == (kind != "ignored"), (place, overlaps)
        if kind == "positive":
            expected = [float(each == CLASSES[best]) for each in range(3)]
            assert found.classes[0, place].numpy().tolist() == expected
            width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
            box = BOXES[best]
            assert found.offsets[0, place].numpy() == pytest.approx(
                [
                    ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / width,
                    ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / height,
                    math.log((box[2] - box[0]) / width),
                    math.log((box[3] - box[1]) / height),
                ],
                abs=1e-5,
            )
        else:
            assert not found.classes[0, place].numpy().any()
    assert min(kinds.values()) > 0, kinds


def fcos_places():
    for level, stride in enumerate(STRIDES):
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                yield level, stride, (column + 0.5) * stride, (row + 0.5) * stride


def test_fcos_places_take_the_smallest_box_of_their_level_around_its_centre():
    found = FCOSMethod().targets(heads_of(1, centredness=1), truth_of(), SIZE)
    taken = set()
    for place, (level, stride, x, y) in enumerate(fcos_places()):
        fitting = []
        for number, (left, top, right, bottom) in enumerate(BOXES):
            edges = (x - left, y - top, right - x, bottom - y)
            least = 0 if level == 0 else 4 * stride
            greatest = math.inf if level == 2 else 8 * stride
            centred = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)) < 1.5 * stride
            if min(edges) > 0 and least <= max(edges) <= greatest and centred:
                fitting.append(((right - left) * (bottom - top), number, edges))
        assert found.positive[0, place] == bool(fitting), (place, x, y)
        if not fitting:
            assert not found.classes[0, place].numpy().any()
            continue
        _, number, (left, top, right, bottom) = min(fitting)
        taken.add(number)
        assert found.classes[0, place].numpy().argmax() == CLASSES[number]
        assert found.boxes[0, place].numpy().tolist() == list(BOXES[number])
        centre = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))
        assert float(found.centredness[0, place]) == pytest.approx(centre, abs=1e-6)
    assert len(taken) >= 2


def right_heads(name):
    """Heads that say exactly the targets of a method."""
    if name == "retinanet":
        method = RetinaMethod()
        found = method.targets(heads_of(9), truth_of(), SIZE)
        flat = {"classes": 40 * found.classes - 20, "boxes": found.offsets}
        per_place = {"classes": 27, "boxes": 36}
        boxes = 9
    else:
        method = FCOSMethod()
        zeros = heads_of(1, centredness=1)
        found = method.targets(zeros, truth_of(), SIZE)
        points, strides = method.places(zeros)
        left_top, right_bottom = points - found.boxes[..., :2], found.boxes[..., 2:] - points
        distances = tf.concat([left_top, right_bottom], -1) / strides[:, None] * found.positive[..., None]
        share = tf.clip_by_value(found.centredness[..., None], 1e-6, 1 - 1e-6)
        logit = tf.math.log(share) - tf.math.log1p(-share)
        flat = {"classes": 40 * found.classes - 20, "boxes": distances, "centredness": logit}
        per_place, boxes = {"classes": 3, "boxes": 4, "centredness": 1}, 1
    heads, start = {}, 0
    for stride in STRIDES:
        rows, columns = SIZE[0] // stride, SIZE[1] // stride
        end = start + rows * columns * boxes
        for kind, values in flat.items():
            heads[f"{kind}_stride{stride}"] = tf.reshape(values[:, start:end], (1, rows, columns, per_place[kind]))
        start = end
    return method, heads


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_heads_that_say_the_targets_decode_to_the_true_boxes(name):
    method, heads = right_heads(name)
    boxes, scores = method.decode(heads, SIZE)
    kept = nms(boxes, scores, overlap=0.9, min_score=0.3)
    found = kept.boxes[0, : int(kept.count[0])].numpy()
    # Of two boxes around one place FCOS learns the smaller; the anchors of RetinaNet overlap more with the larger.
    wanted = (0, 1, 2) if name == "retinanet" else (0, 1, 3)
    for number in wanted:
        gaps = np.abs(found - BOXES[number]).max(axis=1)
        assert gaps.min() < 1e-3, (BOXES[number], found)
        assert kept.classes[0, gaps.argmin()] == CLASSES[number]


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_loss_of_right_heads_is_near_zero_and_rises_with_each_mistake(name):
    method, heads = right_heads(name)
    targets = method.targets(heads, truth_of(), SIZE)
    right = method.loss(heads, targets, SIZE)
    for part, value in right.items():  # the entropy of a share between 0 and 1 is not 0, but at most log 2
        assert float(value[0]) < (math.log(2) if part == "centredness" else 1e-3), part
    for kind in right:
        wrong = {
            head: value + (0.3 if kind == "boxes" else 25.0) if head.startswith(kind) else value
            for head, value in heads.items()
        }
        part = float(method.loss(wrong, targets, SIZE)[kind][0])
        assert part > float(right[kind][0]) + 0.01, kind
