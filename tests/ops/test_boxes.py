"""Boxes: formats against each other, areas, clipping, overlaps against plain loops, gradients of boxes of no area."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kerasdl import ops
from kerasdl.core.errors import ArgumentError
from kerasdl.ops.boxes import FORMATS
from kerasdl.ops.overlaps import KINDS

SIDE = st.integers(0, 40)
BOX = st.tuples(SIDE, SIDE, SIDE, SIDE).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
BOXES = st.lists(BOX, min_size=1, max_size=6).map(lambda rows: np.array(rows, "float32"))


def overlap(a, b, kind):
    """Overlap of two boxes as the papers write it, in 64 bits."""
    a, b = [float(each) for each in a], [float(each) for each in b]
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    iou = shared / union if union else 0.0
    hull = (max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1]))
    if kind == "iou":
        return iou
    if kind == "giou":
        return iou - (hull[0] * hull[1] - union) / (hull[0] * hull[1]) if hull[0] * hull[1] else iou
    apart = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    diagonal = hull[0] ** 2 + hull[1] ** 2
    diou = iou - (apart / diagonal if diagonal else 0.0)
    if kind == "diou":
        return diou
    angles = [math.atan2(box[2] - box[0], box[3] - box[1]) for box in (b, a)]
    aspect = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return diou - (aspect * aspect / (1 - iou + aspect) if 1 - iou + aspect else 0.0)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FORMATS, FORMATS)))
def test_each_format_turns_into_each_and_back(source, target):
    boxes = np.array([[[1, 2, 5, 9], [0, 0, 64, 32]], [[3, 3, 4, 30], [7, 1, 60, 2]]], "float32")
    size = np.array([[[32, 64]], [[48, 80]]], "float32")  # an image each
    start = ops.convert_boxes(boxes, "xyxy", source, image_size=size)
    there = ops.convert_boxes(start, source, target, image_size=size)
    back = ops.convert_boxes(there, target, "xyxy", image_size=size)
    np.testing.assert_allclose(back, boxes, atol=1e-4)


def test_formats_by_hand():
    box = [[2, 4, 8, 16]]
    assert ops.convert_boxes(box, "xyxy", "xywh").numpy().tolist() == [[2, 4, 6, 12]]
    assert ops.convert_boxes(box, "xyxy", "cxcywh").numpy().tolist() == [[5, 10, 6, 12]]
    assert ops.convert_boxes(box, "xyxy", "yxyx").numpy().tolist() == [[4, 2, 16, 8]]
    shares = ops.convert_boxes(box, "xyxy", "rel_xyxy", image_size=(32, 16)).numpy()
    assert shares.tolist() == [[0.125, 0.125, 0.5, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[0, 0, 1, 1]], "xyxy", "ltrb"), "format of boxes must be one of"),
        (([[0, 0, 1, 1]], "xyxy", "rel_xyxy"), "image_size must be given"),
        (([[0, 0, 1]], "xyxy", "xywh"), r"shape \(\.\.\., 4\)"),
        ((3.0, "xyxy", "xywh"), r"shape \(\.\.\., 4\)"),
    ],
)
def test_what_is_no_box_is_refused(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        ops.convert_boxes(*arguments)


@given(BOXES, BOXES, st.sampled_from(KINDS))
def test_pairwise_overlaps_are_those_of_the_papers(boxes, others, kind):
    expected = [[overlap(a, b, kind) for b in others] for a in boxes]
    np.testing.assert_allclose(ops.pairwise_overlaps(boxes, others, kind), expected, atol=2e-6)


@given(BOXES, st.sampled_from(KINDS))
def test_aligned_overlaps_are_the_diagonal(boxes, kind):
    others = boxes[::-1].copy()
    pairs = ops.pairwise_overlaps(boxes, others, kind).numpy()
    np.testing.assert_allclose(ops.aligned_overlaps(boxes, others, kind), pairs.diagonal(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "pair",
    [
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 0, 4, 4], [4, 0, 8, 4]),
        ([0, 0, 4, 4], [0, 0, 4, 4]),
        ([2, 2, 2, 5], [2, 2, 2, 5]),
        ([0, 0, 4, 4], [9, 9, 9, 9]),
        ([3, 3, 1, 1], [0, 0, 4, 4]),
        ([0, 0, 1e4, 1e4], [0, 0, 1e-3, 1e-3]),
    ],
)
def test_gradients_are_finite_for_boxes_that_touch_or_have_no_area(kind, pair):
    boxes, others = (tf.constant([each], "float32") for each in pair)
    with tf.GradientTape() as tape:
        tape.watch((boxes, others))
        value = ops.aligned_overlaps(boxes, others, kind)
    slopes = tape.gradient(value, (boxes, others))
    assert all(np.isfinite(each).all() for each in (value, *slopes))


def test_the_gradient_of_ciou_moves_a_box_towards_its_aim():
    box, aim = tf.Variable([[0.0, 0.0, 8.0, 2.0]]), [[10.0, 10.0, 14.0, 18.0]]

    @tf.function
    def step(rate):
        with tf.GradientTape() as tape:
            loss = 1 - ops.aligned_overlaps(box, aim, "ciou")
        box.assign_sub(rate * tape.gradient(loss, box))

    for rate in [4.0] * 400 + [0.4] * 100:
        step(tf.constant(rate))
    assert float(ops.aligned_overlaps(box, aim)[0]) > 0.9


def test_areas_clipping_and_small_boxes():
    boxes = [[-4, -4, 6, 3], [2, 2, 2, 9], [50, 50, 60, 60]]
    np.testing.assert_array_equal(ops.box_areas(boxes), [70, 0, 100])
    clipped = ops.clip_boxes(boxes, (8, 5)).numpy()
    assert clipped.tolist() == [[0, 0, 5, 3], [2, 2, 2, 8], [5, 8, 5, 8]]
    np.testing.assert_array_equal(ops.are_boxes_large(clipped, 3), [True, False, False])
    np.testing.assert_array_equal(ops.are_boxes_large(clipped, 0), [True, False, False])
    assert ops.box_areas(np.zeros((0, 4))).shape == (0,)
    assert ops.pairwise_overlaps(np.zeros((0, 4)), boxes).shape == (0, 3)
