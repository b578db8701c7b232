"""merge_panoptic by hand-worked maps: order, shares, stuff, void, and its quality against the truth."""

import numpy as np
import pytest

from kerasdl.core import ArgumentError, PredictedObjects
from kerasdl.metrics import PanopticQuality
from kerasdl.ops import encode_mask, merge_panoptic

ROWS, COLUMNS = np.mgrid[:10, :12]
LEFT, MIDDLE = COLUMNS < 5, (COLUMNS >= 3) & (COLUMNS < 9)  # share two of five and of six columns
GROUND = np.where(ROWS < 7, 0, 3)  # two classes of stuff; 1 and 2 are things


def objects(*entries):
    """Returns objects of (mask, class, score)."""
    masks, classes, scores = zip(*entries, strict=True) if entries else ((), (), ())
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (len(entries), 1))
    return PredictedObjects(boxes, np.array(classes, int), scores, masks)


def test_the_likeliest_object_comes_first_and_stuff_fills_the_rest():
    merged = merge_panoptic(objects((LEFT, 0, 0.7), (encode_mask(MIDDLE), 1, 0.9)), GROUND, things=[1, 2])
    expected = np.stack([GROUND, np.zeros_like(GROUND)], axis=-1)
    expected[LEFT] = 1, 2
    expected[MIDDLE] = 2, 1
    np.testing.assert_array_equal(merged, expected)
    assert merged.dtype == np.int32


def test_objects_that_are_unlikely_or_mostly_hidden_are_dropped():
    both = (MIDDLE, 1, 0.9), (LEFT, 0, 0.7)
    assert set(merge_panoptic(objects(*both), GROUND, [1, 2], visible=0.6)[..., 1].flat) == {0, 1, 2}  # three of five
    assert set(merge_panoptic(objects(*both), GROUND, [1, 2], visible=0.61)[..., 1].flat) == {0, 1}
    assert set(merge_panoptic(objects(*both), GROUND, [1, 2], min_score=0.8)[..., 0].flat) == {0, 2, 3}
    assert not merge_panoptic(objects((MIDDLE & False, 0, 0.9)), GROUND, [1, 2])[..., 1].any()
    np.testing.assert_array_equal(merge_panoptic(objects(), GROUND, [1, 2])[..., 0], GROUND)


def test_things_without_an_object_and_small_stuff_are_void():
    semantic = np.where(LEFT, 1, GROUND)
    merged = merge_panoptic(objects(), semantic, [1, 2], least_area=30)
    np.testing.assert_array_equal(merged[..., 0], np.where(LEFT | (ROWS >= 7), 255, 0))  # 21 pixels of class 3
    assert (merge_panoptic(objects(), semantic, [1, 2], void=9)[LEFT][:, 0] == 9).all()


def test_true_parts_have_the_full_quality():
    truth = np.stack([np.where(LEFT, 1, GROUND), LEFT.astype(int)], axis=-1)
    metric = PanopticQuality(4, things=[1, 2])
    metric.update_state([truth], [merge_panoptic(objects((LEFT, 0, 0.9)), truth[..., 0], [1, 2])])
    assert metric.result()["PQ"] == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: merge_panoptic(objects(), GROUND, [1], min_score=2),
        lambda: merge_panoptic(objects(), GROUND, [1], visible=-1),
        lambda: merge_panoptic(objects(), GROUND, [1], least_area=-1),
        lambda: merge_panoptic(objects(), GROUND.astype(float), [1]),
        lambda: merge_panoptic(objects(), GROUND, [255]),
        lambda: merge_panoptic(PredictedObjects([[0, 0, 1, 1]], [0], [0.9]), GROUND, [1]),
        lambda: merge_panoptic(objects((LEFT, 1, 0.9)), GROUND, [1]),
        lambda: merge_panoptic(objects((LEFT.T, 0, 0.9)), GROUND, [1]),
    ],
)
def test_what_breaks_a_rule_is_refused(call):
    with pytest.raises(ArgumentError):
        call()
