"""Grids, anchors and default boxes: the published numbers of boxes, places by hand, coding there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasdl import ops
from kerasdl.core.errors import ArgumentError

STRIDES = (8, 16, 32, 64, 128)
SSD300 = {
    "sizes": [(side, side) for side in (38, 19, 10, 5, 3, 1)],
    "strides": [8, 16, 32, 64, 100, 300],
    "sides": [300 * share for share in (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)],
    "ratios": [(2,), (2, 3), (2, 3), (2, 3), (2,), (2,)],
}


def test_the_published_numbers_of_boxes():
    assert ops.default_boxes(**SSD300, image_size=(300, 300)).shape == (8732, 4)
    sizes = ops.level_sizes((512, 512), STRIDES)
    assert ops.anchor_boxes(sizes, STRIDES, ops.retina_sides(STRIDES)).shape == (49104, 4)
    assert ops.grid_points(ops.level_sizes((640, 640), (8, 16, 32)), (8, 16, 32))[0].shape == (8400, 2)
    assert 3 * len(ops.grid_points(ops.level_sizes((416, 416), (8, 16, 32)), (8, 16, 32))[0]) == 10647


def test_default_boxes_of_the_coarsest_level_of_ssd300():
    last = ops.default_boxes(**SSD300, image_size=(300, 300))[-4:]
    sides = last[:, 2:] - last[:, :2]
    square = np.sqrt(261.0 * 315.0)
    expected = [(261, 261), (square, square), (300, 261 / 2**0.5), (261 / 2**0.5, 300)]
    np.testing.assert_allclose(sides, expected, rtol=1e-5)
    np.testing.assert_allclose((last[:, 2:] + last[:, :2]) / 2, 150)


def test_strides_of_default_boxes_may_differ_along_x_and_y():
    boxes = ops.default_boxes([(1, 2)], [(4, 8)], [2, 2], [[]], image_size=(8, 8))
    np.testing.assert_array_equal((boxes[::2, :2] + boxes[::2, 2:]) / 2, [[2, 4], [6, 4]])


def test_an_anchor_has_its_area_and_ratio_at_each_place():
    anchors = ops.anchor_boxes([(2, 3)], [16], [[32, 64]], (0.5, 2.0)).reshape(2, 3, 4, 4)
    sides = anchors[..., 2:] - anchors[..., :2]
    np.testing.assert_allclose(sides[..., 0] * sides[..., 1], np.broadcast_to([32**2, 64**2] * 2, (2, 3, 4)), rtol=1e-5)
    np.testing.assert_allclose(sides[1, 2, :, 1] / sides[1, 2, :, 0], [0.5, 0.5, 2, 2], rtol=1e-5)
    centres = (anchors[..., 2:] + anchors[..., :2]) / 2
    np.testing.assert_allclose(centres[1, 2], np.tile([40, 24], (4, 1)))  # column 2, row 1
    at_corner = ops.anchor_boxes([(1, 1)], [16], [[33]], (0.5,), offset=0.0, rounded=True)
    np.testing.assert_array_equal(at_corner, [[-23, -12, 23, 12]])


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.grid_points([(1, 1)], [8, 16]),
        lambda: ops.anchor_boxes([(1, 1)], [8], [[8], [16]]),
        lambda: ops.default_boxes([(1, 1)], [8], [4], [[]], image_size=(8, 8)),
        lambda: ops.level_sizes((0, 8), [8]),
        lambda: ops.encode_offsets([[0, 0, 1, 1]], [[0, 0, 1, 1]], (0, 1, 1, 1)),
        lambda: ops.expected_distances(np.zeros((1, 7), "float32")),
    ],
)
def test_levels_and_numbers_that_do_not_fit_are_refused(call):
    with pytest.raises(ArgumentError, match="must"):
        call()


BOX = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 60), st.floats(0.5, 60)).map(
    lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]
)


@given(BOX, BOX, st.sampled_from([(1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)]))
def test_offsets_go_there_and_back(box, anchor, variances):
    coded = ops.encode_offsets([box], [anchor], variances)
    size = max(map(abs, [*box, *anchor])) + 1
    grows = max((box[2] - box[0]) / (anchor[2] - anchor[0]), (box[3] - box[1]) / (anchor[3] - anchor[1]))
    if grows < 62:
        np.testing.assert_allclose(ops.decode_offsets(coded, [anchor], variances), [box], atol=2e-4 * size)
    again = ops.decode_distances(ops.encode_distances([box], [[3.0, 4.0]]), [[3.0, 4.0]])
    np.testing.assert_allclose(again, [box], atol=1e-4)


def test_offsets_are_bounded_and_finite_for_boxes_of_no_area():
    grown = ops.decode_offsets([[0, 0, 1e3, 1e3]], [[0, 0, 2, 2]]).numpy()
    np.testing.assert_allclose(grown, [[-61.5, -61.5, 63.5, 63.5]], rtol=1e-4)
    assert np.isfinite(ops.encode_offsets([[3, 3, 3, 3]], [[0, 0, 2, 2]])).all()


def test_expected_distances_are_means():
    logits = np.full((2, 3, 4, 16), -50, "float32")
    logits[..., 5] = logits[..., 6] = 0
    np.testing.assert_allclose(ops.expected_distances(logits.reshape(2, 3, 64)), np.full((2, 3, 4), 5.5), rtol=1e-5)
