"""Mean average precision against pycocotools on drawn cases, and by hand."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.metrics import MeanAveragePrecision

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")
FIGURES += ("AR_small", "AR_medium", "AR_large")


def drawn(seed, images=4, classes=3, most=12):
    """Images with boxes on a coarse grid of places, sizes and scores, so that overlaps and scores tie."""
    rng = np.random.default_rng(seed)
    true, predicted = [], []
    for _ in range(images):
        count = int(rng.integers(0, most))
        corners = rng.integers(0, 12, (count, 2)) * 10
        boxes = np.concatenate([corners, corners + rng.choice([8, 20, 32, 40, 100, 130], (count, 2))], axis=1)
        crowd, kinds = rng.random(count) < 0.15, rng.integers(0, classes, count)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.choice([0.6, 1.0])
        true.append(TrueObjects(boxes, kinds, crowd, areas))
        near = boxes[rng.integers(0, count, rng.integers(0, 2 * most))] if count else np.zeros((0, 4))
        near = near + rng.integers(-4, 5, near.shape)
        extra = rng.integers(0, 120, (int(rng.integers(0, 4)), 2))
        near = np.concatenate([near, np.concatenate([extra, extra + 15], axis=1)])
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        kinds = rng.integers(0, classes, len(near))
        predicted.append(PredictedObjects(near, kinds, rng.integers(1, 10, len(near)) / 10))
    return true, predicted


def of_pycocotools(true, predicted, classes):
    """The twelve figures of pycocotools, -1 where nothing could be measured."""
    coco, results = COCO(), []
    images = [{"id": k + 1, "height": 400, "width": 400} for k in range(len(true))]
    categories = [{"id": k + 1, "name": str(k)} for k in range(classes)]
    marks = []
    for k, each in enumerate(true):
        for box, kind, crowd, area in zip(each.boxes, each.classes, each.crowd, each.areas, strict=True):
            x, y, right, bottom = map(float, box)
            mark = {"bbox": [x, y, right - x, bottom - y], "area": float(area), "iscrowd": int(crowd)}
            marks.append({"id": len(marks) + 1, "image_id": k + 1, "category_id": int(kind) + 1, **mark})
    for k, each in enumerate(predicted):
        for box, kind, score in zip(each.boxes, each.classes, each.scores, strict=True):
            x, y, right, bottom = map(float, box)
            result = {"bbox": [x, y, right - x, bottom - y], "score": float(score)}
            results.append({"image_id": k + 1, "category_id": int(kind) + 1, **result})
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = {"images": images, "categories": categories, "annotations": marks}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equal(true, predicted, classes):
    metric = MeanAveragePrecision(classes)
    metric.update_state(true, predicted)
    own = of_pycocotools(true, predicted, classes)
    values = [metric.result()[name] for name in FIGURES]
    np.testing.assert_allclose(np.nan_to_num(values, nan=-1), own.stats, atol=1e-9)
    precision = own.eval["precision"]  # (T, 101, K, sizes, numbers of objects)
    for k in range(classes):
        np.testing.assert_allclose(
            np.nan_to_num(metric.precision(str(k), 0.75), nan=-1), precision[5, :, k, 0, 2], atol=1e-9
        )


@settings(max_examples=150)
@given(st.integers(0, 1_000_000))
def test_figures_are_those_of_pycocotools(seed):
    true, predicted = drawn(seed)
    if any(len(each.boxes) for each in predicted):  # pycocotools takes no empty list of results
        assert_equal(true, predicted, 3)


def test_more_than_a_hundred_objects_of_a_class_are_cut_as_pycocotools_does():
    true, predicted = drawn(1, images=2, classes=1, most=150)
    assert max(len(each.boxes) for each in predicted) > 100
    assert_equal(true, predicted, 1)


def test_images_in_parts_are_images_at_once():
    true, predicted = drawn(7, images=6)
    whole, parts = MeanAveragePrecision(3), MeanAveragePrecision(3)
    whole.update_state(true, predicted)
    for k in range(6):
        parts.update_state(true[k : k + 1], predicted[k : k + 1])
        parts.result()
    assert parts.result() == whole.result()
    parts.reset_state()
    with pytest.raises(ArgumentError, match="at least one image"):
        parts.result()


def test_figures_by_hand():
    """Of two objects the better guess is right, the next wrong, the third right: precision 1, then 2/3."""
    true = [TrueObjects([[0, 0, 10, 10], [50, 50, 60, 60]], [0, 0])]
    guesses = PredictedObjects([[0, 0, 10, 10], [80, 80, 90, 90], [50, 50, 60, 60]], [0, 0, 0], [0.9, 0.8, 0.7])
    metric = MeanAveragePrecision(["cat", "dog"])
    metric.update_state(true, [guesses])
    assert metric.result()["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert metric.result()["AR1"] == 0.5
    assert metric.per_class()["cat"]["AR100"] == 1.0
    assert np.isnan(metric.per_class()["dog"]["AP"])
    assert np.isnan(metric.result()["AP_large"])
    with pytest.raises(UnknownNameError, match="cat"):
        metric.precision("cot")
    with pytest.raises(ArgumentError, match="bound must be"):
        metric.precision("cat", 0.52)


def test_images_without_objects_or_answers():
    nothing = PredictedObjects([], np.zeros(0, int), [])
    metric = MeanAveragePrecision(1)
    metric.update_state([TrueObjects([], np.zeros(0, int))], [nothing])
    assert all(np.isnan(value) for value in metric.result().values())
    metric.update_state([TrueObjects([[0, 0, 5, 5]], [0])], [nothing])
    assert metric.result()["AP"] == 0.0
    metric.update_state([TrueObjects([], np.zeros(0, int))], [PredictedObjects([[0, 0, 5, 5]], [0], [0.9])])
    assert metric.result()["AP"] == 0.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrueObjects([[0, 0, 5]], [0]), r"\(N, 4\)"),
        (lambda: TrueObjects([[0, 0, np.nan, 5]], [0]), "finite"),
        (lambda: TrueObjects([[5, 0, 0, 5]], [0]), "left edge"),
        (lambda: TrueObjects([[0, 0, 5, 5]], [0.5]), "whole numbers"),
        (lambda: TrueObjects([[0, 0, 5, 5]], [-1]), "0 or more"),
        (lambda: TrueObjects([[0, 0, 5, 5]], [0, 1]), "one entry for each"),
        (lambda: TrueObjects([[0, 0, 5, 5]], [0], crowd=[True, False]), "one entry for each"),
        (lambda: PredictedObjects([[0, 0, 5, 5]], [0], [np.inf]), "finite"),
        (lambda: MeanAveragePrecision(0), "integer of 1 or more"),
        (lambda: MeanAveragePrecision([]), "at least one name"),
        (lambda: MeanAveragePrecision(1).update_state([TrueObjects([[0, 0, 5, 5]], [0])], []), "a record for each"),
        (
            lambda: MeanAveragePrecision(1).update_state(
                [TrueObjects([[0, 0, 5, 5]], [1])], [PredictedObjects([], [], [])]
            ),
            "below",
        ),
    ],
)
def test_records_and_settings_that_break_their_rule_are_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()
