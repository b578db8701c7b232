"""Curves, confusion, error kinds and COCO's table of detections: by hand, by brute force, and by symmetry."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.metrics import MeanAveragePrecision, detection_confusion, detection_curves, detection_errors

CLASSES = 3
NOTHING = PredictedObjects([], [], [])
FUNCTIONS = (detection_curves, detection_confusion, detection_errors)


def box(x, y, width=10, height=10):
    return [x, y, x + width, y + height]


def drawn(seed, images=12, crowds=0.0):
    """Images whose predicted objects are copies of the true ones, more or less far away, and noise."""
    rng = np.random.default_rng(seed)
    true, predicted = [], []
    for _ in range(images):
        count = int(rng.integers(0, 7))
        corners = rng.uniform(0, 120, (count, 2))
        boxes, kinds = (
            np.concatenate([corners, corners + rng.uniform(10, 60, (count, 2))], 1),
            rng.integers(0, 3, count),
        )
        true.append(TrueObjects(boxes, kinds, rng.random(count) < crowds))
        some = rng.integers(0, count, int(rng.integers(0, 14))) if count else np.zeros(0, int)
        near = boxes[some] + rng.normal(0, 6, (len(some), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        near = np.concatenate([near, [box(*rng.uniform(0, 120, 2), 30, 30)]])
        kinds = np.append(np.where(rng.random(len(some)) < 0.7, kinds[some], rng.integers(0, 3, len(some))), 0)
        predicted.append(PredictedObjects(near, kinds, rng.permutation(1000)[: len(near)] / 1000 + rng.random() / 1e4))
    return true, predicted


def one_of_each_kind():
    """Returns an image in which each kind of error occurs once, beside three right objects."""
    true = TrueObjects(
        [box(0, 0), box(100, 0), box(200, 0), box(300, 0), box(0, 100), box(100, 100)],
        [0, 0, 0, 0, 1, 1],  # right, badly placed, missed, right; taken for class 0, right
    )
    predicted = {
        "right": (box(0, 0), 0, 0.9),
        "duplicate": (box(0, 0, 10, 9), 0, 0.8),
        "localisation": (box(106, 0), 0, 0.7),
        "classification": (box(0, 100), 0, 0.6),
        "background": (box(400, 400), 0, 0.5),
        "both": (box(106, 100), 0, 0.4),
        "right at last": (box(300, 0), 0, 0.1),
        "right of class 1": (box(100, 100), 1, 0.95),
    }
    return true, PredictedObjects(*zip(*predicted.values(), strict=True))


def test_errors_by_hand():
    """Class 0 is R W W W W W R of four objects, class 1 is R of two."""
    true, predicted = one_of_each_kind()
    errors = detection_errors([true], [predicted], ["cat", "dog"])
    assert errors.counts == dict.fromkeys(errors.counts, 1)
    base = 26 + 25 * 2 / 7 + 51
    assert errors.average_precision == pytest.approx(base / 202)
    fewer_wrong = 26 + 25 * 2 / 6
    fixed = {
        "classification": fewer_wrong + 101,
        "localisation": 26 + 25 * 2 / 3 + 25 * 3 / 7 + 51,
        "both": fewer_wrong + 51,
        "duplicate": fewer_wrong + 51,
        "background": fewer_wrong + 51,
        "missed": 34 + 33 * 2 / 7 + 51,
    }
    assert errors.gains == pytest.approx({kind: (value - base) / 202 for kind, value in fixed.items()})
    assert errors.overall == pytest.approx(
        {"false positives": (51 + 51 - base) / 202, "false negatives": (51 + 50 * 2 / 7 + 101 - base) / 202}
    )
    assert errors.by_class["dog"] == dict.fromkeys(errors.counts, 0)
    assert json.loads(errors.to_json())["counts"] == errors.counts
    assert errors.table().splitlines()[1].split() == ["classification", "1", "0.670", "0.253"]


def test_of_two_errors_at_one_object_the_higher_score_is_fixed():
    true = TrueObjects([box(0, 0)], [0])
    guesses = PredictedObjects([box(6, 0), box(0, 0)], [0, 1], [0.3, 0.9])  # localisation, classification
    errors = detection_errors([true], [guesses], 2)
    assert errors.counts["localisation"] == errors.counts["classification"] == 1
    assert errors.counts["missed"] == 0
    assert errors.gains["classification"] == 1.0  # first, and what is badly placed follows
    assert errors.gains["localisation"] == 0.0


def iou(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def kinds_by_brute_force(true, predicted):
    """Returns the number of right objects and of each kind, one object after the other, by the paper's table."""
    counts = dict.fromkeys(("right", "classification", "localisation", "both", "duplicate", "background", "missed"), 0)
    for wanted, found in zip(true, predicted, strict=True):
        free, claimed, wrong = set(range(len(wanted.boxes))), set(), []
        for i in np.argsort(-found.scores, kind="stable"):
            overlaps = [iou(found.boxes[i], each) for each in wanted.boxes]
            own = [k for k in range(len(overlaps)) if wanted.classes[k] == found.classes[i]]
            best = max((k for k in own if k in free and overlaps[k] >= 0.5), key=lambda k: overlaps[k], default=None)
            if best is None:
                wrong.append((overlaps, own))
            else:
                free.remove(best)
                counts["right"] += 1
        for overlaps, own in wrong:
            others = [k for k in range(len(overlaps)) if k not in own]
            nearest = max(own, key=lambda k: overlaps[k], default=None)
            other = max(others, key=lambda k: overlaps[k], default=None)
            if nearest is not None and 0.1 <= overlaps[nearest] < 0.5:
                kind, claim = "localisation", nearest
            elif other is not None and overlaps[other] >= 0.5:
                kind, claim = "classification", other
            elif nearest is not None and overlaps[nearest] >= 0.5:
                kind, claim = "duplicate", None
            else:
                kind, claim = ("background" if max(overlaps, default=0) < 0.1 else "both"), None
            counts[kind] += 1
            claimed.add(claim)
        counts["missed"] += len(free - claimed)
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_kinds_and_confusion_are_those_of_brute_force(seed):
    true, predicted = drawn(seed)
    counts = kinds_by_brute_force(true, predicted)
    assert np.trace(detection_confusion(true, predicted, CLASSES, min_score=0.0).counts) == counts.pop("right")
    assert detection_errors(true, predicted, CLASSES).counts == counts


@pytest.mark.parametrize("crowds", [0.0, 0.3])
def test_sums_and_figures_agree_with_the_metric(crowds):
    true, predicted = drawn(3, crowds=crowds)
    metric = MeanAveragePrecision(CLASSES)
    metric.update_state(true, predicted)
    errors = detection_errors(true, predicted, CLASSES)
    assert errors.average_precision == pytest.approx(metric.result()["AP50"])
    strict = detection_errors(true, predicted, CLASSES, bound=0.75)
    assert strict.average_precision == pytest.approx(metric.result()["AP75"])
    assert strict.figure == "AP75"
    for kind, count in errors.counts.items():
        assert count == sum(each[kind] for each in errors.by_class.values())

    curves = detection_curves(true, predicted, CLASSES)
    for name, figures in metric.per_class().items():
        assert curves.of(name).average_precision == pytest.approx(figures["AP50"])
        assert curves.of(name, 0.75).average_precision == pytest.approx(metric.precision(name, 0.75).mean())
    assert curves.mean(0.5) == pytest.approx(metric.result()["AP50"])

    matrix = detection_confusion(true, predicted, CLASSES, min_score=0.0).counts
    objects = np.bincount(np.concatenate([each.classes[~each.crowd] for each in true]), minlength=CLASSES)
    np.testing.assert_array_equal(matrix[:-1].sum(axis=1), objects)
    answers = np.bincount(np.concatenate([each.classes for each in predicted]), minlength=CLASSES)
    ignored = answers - matrix[:, :-1].sum(axis=0)
    assert (ignored >= 0).all()
    assert ignored.any() == bool(crowds)
    wrong = sum(count for kind, count in errors.counts.items() if kind != "missed")
    assert wrong + np.trace(matrix) == matrix[:, :-1].sum()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_order_of_images_and_of_objects_does_not_matter(function):
    true, predicted = drawn(5, crowds=0.2)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(true))
    mixed = []
    for place in order:
        objects, by = predicted[place], rng.permutation(len(predicted[place].boxes))
        mixed.append(PredictedObjects(objects.boxes[by], objects.classes[by], objects.scores[by]))
    other = function([true[place] for place in order], mixed, CLASSES)
    assert other.to_json() == function(true, predicted, CLASSES).to_json()


def test_confusion_by_hand():
    true = TrueObjects(
        [box(0, 0), box(50, 0), box(100, 0), [0, 50, 100, 100]], [0, 1, 1, 0], [False, False, False, True]
    )
    found = PredictedObjects(
        [box(0, 0), box(0, 0, 10, 9), box(50, 0), box(200, 0), box(10, 60), box(100, 0)],
        [1, 0, 0, 1, 0, 1],  # beside a right one: background; right; wrong class; background; in the crowd; low score
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.2],
    )
    confusion = detection_confusion([true], [found], ["cat", "dog"])
    assert confusion.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 2, 0]]
    assert confusion.table().splitlines()[2].split() == ["dog", "2", "0", "0.0%", "0.0%", "cat", "1"]
    assert json.loads(confusion.to_json())["names"] == ["cat", "dog", "background"]
    assert detection_confusion([true], [found], ["cat", "dog"], min_score=0.1).counts[1, 1] == 1


def test_curve_by_hand():
    true = [TrueObjects([box(0, 0), box(50, 0)], [0, 0])]
    found = PredictedObjects([box(0, 0), box(80, 80), box(50, 0)], [0, 0, 0], [0.9, 0.8, 0.7])
    curves = detection_curves(true, [found], ["cat", "dog"])
    curve = curves.of("cat")
    assert curve.recall.tolist() == [0.5, 1.0]
    assert curve.precision.tolist() == [1.0, 2 / 3]
    assert curve.best_score == 0.7
    assert curve.average_precision == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert np.isnan(curves.of("dog").average_precision)
    assert np.isnan(curves.of("dog").best_score)
    assert curves.table().splitlines()[2].split() == ["dog", "0", "-", "-", "-", "-"]
    assert json.loads(curves.to_json())[2]["average_precision"] is None
    with pytest.raises(UnknownNameError, match="cat"):
        curves.of("cot")
    with pytest.raises(ArgumentError, match="bound"):
        curves.of("cat", 0.6)


def test_table_of_coco_has_twelve_rows():
    true, predicted = drawn(1)
    metric = MeanAveragePrecision(["cat", "dog", "cow", "yak"])
    metric.update_state(true, predicted)
    figures = metric.figures()
    lines = [line.split() for line in figures.table().splitlines()[1:]]
    values = metric.result()
    assert {line[0]: line[-1] for line in lines} == {k: "-" if np.isnan(v) else f"{v:.3f}" for k, v in values.items()}
    content = json.loads(figures.to_json())
    assert content["figures"] == {k: None if np.isnan(v) else v for k, v in values.items()}
    assert content["classes"]["yak"]["AP"] is None
    assert content["objects"] == sum(len(each.boxes) for each in true)
    rows = figures.class_table().splitlines()
    assert rows[-1].split() == ["yak", "-", "-", "-"]
    assert float(rows[1].split()[1]) >= float(rows[2].split()[1])


def test_images_without_objects_or_answers():
    empty, one = TrueObjects([], []), TrueObjects([box(0, 0)], [0])
    for function in FUNCTIONS:
        assert "nan" not in function([empty, one], [NOTHING, NOTHING], 1).to_json().lower()
    errors = detection_errors([empty, one], [NOTHING, NOTHING], 1)
    assert errors.counts == {**dict.fromkeys(errors.counts, 0), "missed": 1}
    assert errors.gains["missed"] == 1.0
    stray = PredictedObjects([box(50, 0)], [0], [0.9])
    assert detection_errors([empty, one], [stray, NOTHING], 1).counts["background"] == 1
    assert detection_errors([empty, one], [stray, NOTHING], 1).gains["missed"] == 0.0
    assert detection_confusion([empty], [stray], 1).counts.tolist() == [[0, 0], [1, 0]]
    assert detection_confusion([one], [NOTHING], 1).counts.tolist() == [[0, 1], [0, 0]]
    assert np.isnan(detection_curves([empty], [stray], 1).mean(0.5))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("classes", [1, 80])
def test_results_show_themselves(function, classes, tmp_path):
    true = [TrueObjects([box(0, 0), box(30, 0)], [0, classes - 1])]
    result = function(true, [PredictedObjects([box(0, 0)], [0], [0.9])], [f"class {k}" for k in range(classes)])
    assert len(repr(result).splitlines()) <= 6
    assert max(map(len, repr(result).splitlines())) <= 100
    assert "<img" in result._repr_html_()
    assert isinstance(result.plot(tmp_path / "figure.png"), Figure)
    assert (tmp_path / "figure.png").stat().st_size > 5000


ONE, FOUND = [TrueObjects([box(0, 0)], [0])], [PredictedObjects([box(0, 0)], [0], [0.9])]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *((lambda function=function: function([], [], 1), "at least one image") for function in FUNCTIONS),
        *((lambda function=function: function(ONE, [], 1), "for each of the 1 images") for function in FUNCTIONS),
        *((lambda function=function: function(ONE, FOUND, ["a", "a"]), "different names") for function in FUNCTIONS),
        *((lambda function=function: function(ONE, FOUND, 0), "classes") for function in FUNCTIONS),
        (lambda: detection_errors([TrueObjects([box(0, 0)], [0], [True])], FOUND, 1), "no crowd"),
        (lambda: detection_errors(ONE, FOUND, 1, bound=1.5), "bound"),
        (lambda: detection_errors(ONE, FOUND, 1, bound=0.5, background=0.6), "background"),
        (lambda: detection_confusion(ONE, FOUND, 1, bound=-1.0), "bound"),
        (lambda: detection_curves(ONE, FOUND, 1, bounds=()), "at least one IoU"),
        (lambda: detection_curves(ONE, FOUND, 1, bounds=(0.5, 0.5)), "each once"),
        (lambda: detection_curves(ONE, FOUND, 1, bounds=(2.0,)), "bounds"),
    ],
)
def test_arguments_that_break_their_rule_are_refused(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()
