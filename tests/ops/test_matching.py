"""Matchers against plain loops over boxes, the Hungarian method against all permutations, balanced samples by count."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kerasdl import ops
from kerasdl.core.errors import ArgumentError
from kerasdl.ops.matching import BACKGROUND, IGNORED


def drawn_boxes(rng, count, side=64):
    centres, sides = rng.uniform(0, side, (count, 2)), rng.uniform(4, 40, (count, 2))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype("float32")


def iou(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def by_overlap(overlaps, valid, positive, negative, rescue):
    real = [m for m in range(overlaps.shape[1]) if valid[m]]
    matches = []
    for row in overlaps:
        best = max(real, key=lambda m: row[m], default=None)
        value = -1 if best is None else row[best]
        matches.append(best if value >= positive else BACKGROUND if value < negative else IGNORED)
    for m in real:
        highest = overlaps[:, m].max()
        if rescue == "predictions" and highest > 0:
            for a in np.flatnonzero(overlaps[:, m] == highest):
                matches[a] = max(real, key=lambda each, a=a: overlaps[a, each])
        if rescue == "boxes":
            matches[int(overlaps[:, m].argmax())] = m
    return matches


@given(st.integers(0, 10_000), st.sampled_from(["predictions", "boxes", "none"]))
def test_matches_by_overlap_are_those_of_a_loop(seed, rescue):
    rng = np.random.default_rng(seed)
    overlaps = np.round(rng.uniform(0, 1, (2, 9, 4)), 1).astype("float32")  # with ties
    valid = rng.random((2, 4)) < 0.7
    found = ops.match_by_overlap(overlaps, valid, positive=0.6, negative=0.3, rescue=rescue).numpy()
    expected = [by_overlap(overlaps[k], valid[k], np.float32(0.6), np.float32(0.3), rescue) for k in range(2)]
    np.testing.assert_array_equal(found, expected)


def test_without_true_boxes_all_is_background():
    nothing = np.zeros((1, 3), bool)
    boxes, anchors = np.zeros((1, 3, 4), "float32"), drawn_boxes(np.random.default_rng(0), 6)
    points, strides = ops.grid_points([(2, 3)], [8])
    overlaps = ops.pairwise_overlaps(anchors[None], boxes)
    empty = np.full((1, 6), BACKGROUND)
    np.testing.assert_array_equal(ops.match_by_overlap(overlaps, nothing), empty)
    np.testing.assert_array_equal(ops.match_by_overlap(overlaps, nothing, rescue="boxes"), empty)
    np.testing.assert_array_equal(ops.match_atss(anchors, boxes, nothing, [4, 2]), empty)
    reach = np.tile([0.0, 99.0], (6, 1))
    np.testing.assert_array_equal(ops.match_centres(points, reach, boxes, nothing, strides=strides), empty)
    match, target = ops.match_task_aligned(overlaps + 0.5, overlaps + 0.5, overlaps >= 0, nothing)
    np.testing.assert_array_equal(match, empty)
    np.testing.assert_array_equal(target, np.zeros((1, 6)))
    np.testing.assert_array_equal(ops.match_one_to_one(overlaps, nothing), empty)


def atss(anchors, boxes, valid, counts, candidates):
    matches, best = np.full(len(anchors), BACKGROUND), np.full(len(anchors), -1.0)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    for m, box in enumerate(boxes):
        if not valid[m]:
            continue
        middle, chosen, start = (box[:2] + box[2:]) / 2, [], 0
        for count in counts:
            apart = ((centres[start : start + count] - middle) ** 2).sum(1)
            chosen += [start + place for place in np.argsort(apart, kind="stable")[:candidates]]
            start += count
        values = np.array([iou(anchors[a], box) for a in chosen])
        bound = values.mean() + values.std(ddof=1)
        for a, value in zip(chosen, values, strict=True):
            inside = (centres[a] > box[:2]).all() and (centres[a] < box[2:]).all()
            if value >= bound and inside and value > best[a]:
                matches[a], best[a] = m, value
    return matches


@pytest.mark.parametrize("seed", range(6))
def test_adaptive_matches_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    sizes, strides = [(8, 8), (4, 4)], (8, 16)
    anchors = ops.anchor_boxes(sizes, strides, [[16], [32]], [1.0])
    boxes, valid = drawn_boxes(rng, 5), rng.random(5) < 0.8
    found = ops.match_atss(anchors, boxes[None], valid[None], [64, 16], candidates=5).numpy()[0]
    np.testing.assert_array_equal(found, atss(anchors, boxes, valid, [64, 16], 5))
    assert (found >= 0).any()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("radius", [1.5, None])
def test_points_take_the_smallest_box_of_their_level(seed, radius):
    rng = np.random.default_rng(seed)
    points, strides = ops.grid_points([(8, 8), (4, 4)], (8, 16))
    reaches = np.array([[0, 16]] * 64 + [[16, 1e8]] * 16, "float32")
    boxes, valid = drawn_boxes(rng, 6), rng.random(6) < 0.8
    found = ops.match_centres(points, reaches, boxes, valid, strides=strides, radius=radius).numpy()
    for (x, y), (low, high), stride, match in zip(points, reaches, strides, found, strict=True):
        fitting = []
        for m in np.flatnonzero(valid):
            left, top, right, bottom = boxes[m]
            edges = [x - left, y - top, right - x, bottom - y]
            off = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
            if min(edges) > 0 and low <= max(edges) <= high and (radius is None or off < radius * stride):
                fitting.append(((right - left) * (bottom - top), m))
        assert match == (min(fitting)[1] if fitting else BACKGROUND)


@pytest.mark.parametrize("seed", range(6))
def test_task_aligned_matches_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    scores, overlaps = (rng.uniform(0.05, 1, (12, 3)).astype("float32") for _ in range(2))
    inside, valid = rng.random((12, 3)) < 0.7, np.array([True, False, True])
    match, target = ops.match_task_aligned(scores, overlaps, inside, valid, candidates=4)
    alignment = scores**0.5 * overlaps**6 * inside * valid
    claims = {m: [a for a in np.argsort(-alignment[:, m], kind="stable")[:4] if alignment[a, m] > 0] for m in (0, 2)}
    expected = np.full(12, BACKGROUND)
    for a in range(12):
        of = [m for m in claims if a in claims[m]]
        expected[a] = max(of, key=lambda m, a=a: overlaps[a, m], default=BACKGROUND)
    np.testing.assert_array_equal(match, expected)
    for m in (0, 2):
        own = expected == m
        if own.any():
            scale = overlaps[own, m].max() / alignment[own, m].max()
            np.testing.assert_allclose(target.numpy()[own], alignment[own, m] * scale, rtol=1e-4)
    np.testing.assert_array_equal(target.numpy()[expected < 0], 0)


def test_one_to_one_matches_cost_least_of_all_permutations():
    rng = np.random.default_rng(0)
    costs, valid = (
        rng.normal(size=(3, 5, 4)).astype("float32"),
        np.array([[1, 1, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]], bool),
    )
    found = tf.function(ops.match_one_to_one)(costs, valid).numpy()
    assert found.shape == (3, 5)
    for cost, is_real, match in zip(costs, valid, found, strict=True):
        real = np.flatnonzero(is_real)
        assert sorted(match[match >= 0]) == real.tolist()
        least = min(cost[list(order), real].sum() for order in itertools.permutations(range(5), len(real)))
        assert cost[match >= 0, match[match >= 0]].sum() == pytest.approx(least, abs=1e-5)
    broken = ops.match_one_to_one(np.array([[[np.nan], [1.0], [np.inf]]], "float32"), np.ones((1, 1), bool))
    np.testing.assert_array_equal(broken, [[-1, 0, -1]])


def test_more_boxes_than_predictions_match_as_far_as_there_are():
    costs = np.array([[[3.0, 1.0, 2.0]]], "float32")
    np.testing.assert_array_equal(ops.match_one_to_one(costs, np.ones((1, 3), bool)), [[1]])


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_balanced_sample_has_its_counts(seed, count, share):
    rng = np.random.default_rng(seed)
    matches, noise = rng.integers(IGNORED, 3, (2, 10)), rng.random((2, 10)).astype("float32")
    taken = ops.sample_balanced(matches, noise, count=count, positive_share=share).numpy()
    for match, is_taken, chance in zip(matches, taken, noise, strict=True):
        positives = min((match >= 0).sum(), int(count * share))
        background = min((match == BACKGROUND).sum(), count - positives)
        assert (is_taken & (match >= 0)).sum() == positives
        assert (is_taken & (match == BACKGROUND)).sum() == background
        assert not (is_taken & (match == IGNORED)).any()
        for kind in (match >= 0, match == BACKGROUND):  # the lowest noise is taken
            if (kind & is_taken).any() and (kind & ~is_taken).any():
                assert chance[kind & is_taken].max() < chance[kind & ~is_taken].min()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.match_by_overlap([[0.1]], [True], positive=0.3, negative=0.5),
        lambda: ops.match_by_overlap([[0.1]], [True], rescue="all"),
        lambda: ops.match_atss([[0, 0, 1, 1]], [[[0, 0, 1, 1]]], [[True]], [2]),
        lambda: ops.sample_balanced([0], [0.1], count=0),
        lambda: ops.sample_balanced([0], [0.1], positive_share=1.5),
    ],
)
def test_settings_that_break_their_rule_are_refused(call):
    with pytest.raises(ArgumentError, match="must"):
        call()
