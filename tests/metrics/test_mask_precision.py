"""Mean average precision of masks against pycocotools on drawn cases, and by hand."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.core.errors import ArgumentError
from kerasdl.metrics import MeanAveragePrecision, detection_confusion, detection_curves, detection_errors
from kerasdl.ops import encode_mask

SIDE = 130


def blob(rng, near=None):
    """A rectangle with a corner cut off, or another mask moved by some pixels."""
    if near is not None:
        return np.roll(near, rng.integers(-6, 7, 2), axis=(0, 1))
    mask = np.zeros((SIDE, SIDE), bool)
    top, left = rng.integers(0, 12, 2) * 10
    height, width = rng.choice([8, 20, 40, 100, 120], 2)
    mask[top : top + height, left : left + width] = True
    return mask & (np.add.outer(np.arange(SIDE), np.arange(SIDE)) > top + left + 5)


def drawn(seed, images=3, classes=2):
    rng = np.random.default_rng(seed)
    true, predicted = [], []
    for _ in range(images):
        masks = [each for each in (blob(rng) for _ in range(rng.integers(0, 6))) if each.any()]
        found = [blob(rng, masks[rng.integers(len(masks))] if masks and rng.random() < 0.8 else None) for _ in range(7)]
        kinds, boxes = rng.integers(0, classes, len(masks)), [encode_mask(each).box for each in masks]
        true.append(TrueObjects(boxes, kinds, rng.random(len(masks)) < 0.2, masks=masks))
        coded = [encode_mask(each) for each in found]
        scores = rng.integers(1, 10, len(found)) / 10
        kinds = rng.integers(0, classes, len(found))
        predicted.append(PredictedObjects([each.box for each in coded], kinds, scores, masks=coded))
    return true, predicted


def of_pycocotools(true, predicted, classes):
    coco, marks, results = COCO(), [], []
    for k, each in enumerate(true):
        rows = zip(each.masks, each.classes, each.crowd, each.areas, strict=True)
        for mask, kind, crowd, area in rows:
            mark = {"id": len(marks) + 1, "image_id": k + 1, "category_id": int(kind) + 1, "area": float(area)}
            left, top, right, bottom = encode_mask(mask).box.tolist()
            mark |= {"iscrowd": int(crowd), "bbox": [left, top, right - left, bottom - top]}
            marks.append({**mark, "segmentation": encode_mask(mask).to_json()})
    for k, each in enumerate(predicted):
        for mask, kind, score in zip(each.masks, each.classes, each.scores, strict=True):
            result = {"image_id": k + 1, "category_id": int(kind) + 1, "score": float(score)}
            results.append({**result, "segmentation": mask.to_json()})
    with contextlib.redirect_stdout(io.StringIO()):
        images = [{"id": k + 1, "height": SIDE, "width": SIDE} for k in range(len(true))]
        categories = [{"id": k + 1, "name": str(k)} for k in range(classes)]
        coco.dataset = {"images": images, "categories": categories, "annotations": marks}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@settings(max_examples=40)
@given(st.integers(0, 1_000_000))
def test_figures_of_masks_are_those_of_pycocotools(seed):
    true, predicted = drawn(seed)
    metric = MeanAveragePrecision(2, of="masks")
    metric.update_state(true, predicted)
    own = np.nan_to_num(list(metric.result().values()), nan=-1)
    np.testing.assert_allclose(own, of_pycocotools(true, predicted, 2), atol=1e-9)


def test_masks_count_where_boxes_would_be_equal():
    mask, half = np.ones((10, 10), bool), np.tril(np.ones((10, 10), bool))
    truth = TrueObjects([[0, 0, 10, 10]], [0], masks=[mask])
    assert truth.areas.tolist() == [100.0]
    found = PredictedObjects([[0, 0, 10, 10]], [0], [0.9], masks=[half])  # an IoU of 0.55
    figures = {}
    for of in ("boxes", "masks"):
        metric = MeanAveragePrecision(1, of=of)
        metric.update_state([truth], [found])
        figures[of] = metric.result()["AP"]
    assert figures == pytest.approx({"boxes": 1.0, "masks": 0.2})


def test_records_without_masks_are_refused():
    truth, found = TrueObjects([[0, 0, 2, 2]], [0]), PredictedObjects([[0, 0, 2, 2]], [0], [0.9])
    with pytest.raises(ArgumentError, match="must have masks"):
        MeanAveragePrecision(1, of="masks").update_state([truth], [found])
    with pytest.raises(ArgumentError, match="of must be one of"):
        MeanAveragePrecision(1, of="circles")
    with pytest.raises(ArgumentError, match="masks must have one entry"):
        TrueObjects([[0, 0, 2, 2]], [0], masks=[])


@pytest.mark.parametrize("seed", range(4))
def test_errors_and_curves_of_masks_have_the_precision_of_the_metric(seed):
    true, predicted = drawn(seed, images=6)
    metric = MeanAveragePrecision(2, of="masks")
    metric.update_state(true, predicted)
    errors = detection_errors(true, predicted, 2, of="masks")
    curves = detection_curves(true, predicted, 2, bounds=(0.5,), of="masks")
    confusion = detection_confusion(true, predicted, 2, min_score=0, of="masks")
    expected = metric.result()["AP50"]
    assert errors.average_precision == pytest.approx(expected, abs=1e-12)
    assert np.mean([curves.of(name, 0.5).average_precision for name in "01"]) == pytest.approx(expected, abs=1e-12)
    kinds, counts = errors.counts, confusion.counts
    assert counts[:2, :2].trace() + sum(kinds.values()) - kinds["missed"] <= sum(len(each.scores) for each in predicted)
    assert expected != pytest.approx(detection_errors(true, predicted, 2).average_precision), "boxes say something else"


def rectangles(records, kind):
    """The same records with boxes of whole pixels, and masks that fill them."""
    result = []
    for each in records:
        masks = []
        for left, top, right, bottom in each.boxes.astype(int):
            masks.append(np.zeros((SIDE, SIDE), bool))
            masks[-1][top:bottom, left:right] = True
        others = (each.crowd,) if kind is TrueObjects else (each.scores,)
        result.append(kind(each.boxes.astype(int), each.classes, *others, masks=masks))
    return result


def test_masks_that_fill_their_boxes_give_what_boxes_give():
    true, predicted = drawn(1, images=8)
    true, predicted = rectangles(true, TrueObjects), rectangles(predicted, PredictedObjects)
    for function in (detection_errors, detection_confusion, detection_curves):
        of_boxes, of_masks = (function(true, predicted, 2, of=of).to_json() for of in ("boxes", "masks"))
        assert of_boxes == of_masks


def test_halves_of_one_box_are_two_objects():
    upper = np.triu(np.ones((10, 10), bool))
    box = [[0, 0, 10, 10]]
    truth = TrueObjects(box, [0], masks=[upper])
    found = PredictedObjects(box, [0], [0.9], masks=[~upper | np.eye(10, dtype=bool)])  # 10 of 100 pixels are shared
    assert detection_errors([truth], [found], 1).average_precision == 1
    errors = detection_errors([truth], [found], 1, of="masks")
    assert errors.counts["localisation"] == 1
    assert detection_confusion([truth], [found], 1, of="masks").counts.tolist() == [[0, 1], [1, 0]]
    bare = PredictedObjects(box, [0], [0.9])
    for function in (detection_errors, detection_confusion, detection_curves):
        with pytest.raises(ArgumentError, match=r"records must have masks; got 'none in image 0'"):
            function([truth], [bare], 1, of="masks")
        with pytest.raises(ArgumentError, match="of must be one of"):
            function([truth], [found], 1, of="pixels")
