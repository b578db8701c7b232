"""Metrics of segmentation against loops, SciPy and scikit-learn, in fit, and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn import metrics as oracle

from kerasdl.core.errors import ArgumentError
from kerasdl.metrics import BoundaryF1, DiceCoefficient, HausdorffDistance, MeanIoU, PanopticQuality, PixelAccuracy

SEEDS = st.integers(0, 1_000_000)


def iou_score(true, predicted, **settings):
    f1 = oracle.f1_score(true, predicted, **settings)
    return f1 / (2 - f1)


ORACLES = {MeanIoU: iou_score, DiceCoefficient: oracle.f1_score, PixelAccuracy: oracle.recall_score}
KINDS = pytest.mark.parametrize("kind", list(ORACLES))


def drawn(seed, images=3, classes=4):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, classes, (2, images, 6, 7))
    true[0][true[0] == 3] = 0  # an image without the last class
    predicted = np.where(rng.random(predicted.shape) < 0.5, true, predicted)
    true[rng.random(true.shape) < 0.15] = 255
    return true, predicted


def of_oracle(kind, true, predicted, **settings):
    counted = true != 255
    return ORACLES[kind](true[counted], predicted[counted], zero_division=np.nan, **settings)


@KINDS
def test_figures_are_those_of_scikit_learn(kind):
    for seed in range(5):
        true, predicted = drawn(seed)
        figures = {each: kind(4, average=each) for each in ("classes", "micro", "images")}
        for metric in figures.values():
            metric.update_state(true[:2].astype("uint8"), predicted[:2])
            metric.update_state(true[2:].astype("uint8"), predicted[2:])
        wanted = of_oracle(kind, true, predicted, average=None, labels=range(4))
        np.testing.assert_allclose(list(figures["micro"].per_class().values()), wanted, atol=1e-12)
        assert float(figures["classes"].result()) == pytest.approx(np.nanmean(wanted), abs=1e-6)
        micro = of_oracle(kind, true, predicted, average="micro", labels=range(4))
        assert float(figures["micro"].result()) == pytest.approx(micro, abs=1e-6)
        pairs = zip(true, predicted, strict=True)
        each = [np.nanmean(of_oracle(kind, *pair, average=None, labels=range(4))) for pair in pairs]
        assert float(figures["images"].result()) == pytest.approx(np.mean(each), abs=1e-6)


@KINDS
def test_labels_and_predictions_of_every_form_give_one_figure(kind):
    true, predicted = drawn(0)
    wanted = kind(4)
    wanted.update_state(true, predicted)
    marks = np.eye(4)[np.minimum(true, 3)] * (true != 255)[..., None]
    for labels in (true.astype("uint8"), true[..., None].astype("float32"), marks, marks.astype("uint8")):
        metric = kind(4)
        metric.update_state(labels, np.eye(4, dtype="float32")[predicted])
        assert float(metric.result()) == float(wanted.result())
    two, scores = np.minimum(true[true < 2][None], 1), np.float32([[0.3, 0.7]])
    logits = np.resize(scores, two.shape)[..., None]
    for from_logits, each in ((True, logits - 0.5), (False, logits)):
        metric, plain = kind(2, from_logits=from_logits), kind(2)
        metric.update_state(two, each)
        plain.update_state(two, (logits[..., 0] > 0.5).astype(int))
        assert float(metric.result()) == float(plain.result()) < 1


@KINDS
def test_images_are_weighed_reset_saved_and_watched(kind):
    true, predicted = drawn(1)
    metric, other = kind(["a", "b", "c", "d"], average="images"), kind(4, average="images")
    metric.update_state(true, predicted, sample_weight=np.array([1.0, 0, 2]))
    other.update_state(true[[0, 2, 2]], predicted[[0, 2, 2]])
    assert float(metric.result()) == pytest.approx(float(other.result()), rel=1e-6)
    metric.reset_state()
    assert np.isnan(metric.result())
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.names == ("a", "b", "c", "d")
    assert again.average == "images"
    metric.update_state(np.full((1, 2, 2), 255), np.zeros((1, 2, 2), int))
    assert np.isnan(metric.result())
    metric.update_state(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int))
    assert float(metric.result()) == 1.0
    assert "a" in metric.figures().table()
    assert "null" in metric.figures().to_json()


@KINDS
def test_labels_beyond_the_classes_give_nan_and_other_shapes_are_refused(kind):
    metric = kind(3)
    metric.update_state(np.array([[0, 3]]), np.array([[0, 1]]))
    assert np.isnan(metric.result())
    metric = kind(3, ignore_label=3)
    metric.update_state(np.array([[0, 3]]), np.array([[0, 1]]))
    assert float(metric.result()) == 1.0
    with pytest.raises(ArgumentError, match="scores"):
        metric.update_state(np.zeros((1, 4)), np.zeros((1, 4, 2), "float32"))
    with pytest.raises(ArgumentError, match="labels must have the shape"):
        metric.update_state(np.zeros((1, 5)), np.zeros((1, 4, 3), "float32"))
    with pytest.raises(ArgumentError, match="one-hot"):
        metric.update_state(np.zeros((1, 4, 2)), np.zeros((1, 4, 3), "float32"))
    with pytest.raises(ArgumentError, match="one number an image"):
        metric.update_state(np.zeros((1, 4)), np.zeros((1, 4, 3), "float32"), sample_weight=np.ones((1, 4)))
    with pytest.raises(ArgumentError, match="average"):
        kind(3, average="macro")


def test_metrics_run_in_fit_on_images_of_free_size():
    net = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(3, 1)])
    net.compile("sgd", keras.losses.MeanSquaredError(), metrics=[MeanIoU(3), PixelAccuracy(3, average="images")])
    images = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype("float32")
    answers = net(images).numpy().argmax(axis=-1)
    figures = net.evaluate(images, np.eye(3, dtype="float32")[answers], batch_size=2, verbose=0, return_dict=True)
    assert figures["mean_iou"] == figures["pixel_accuracy"] == 1.0


def test_counts_beyond_the_whole_numbers_of_float32_are_exact():
    metric = PixelAccuracy(2)
    metric.counts.assign(np.array([[2.0**24, 0], [0, 0]]))
    metric.update_state(np.array([[0]]), np.array([[0]]))
    assert int(metric.counts.numpy()[0, 0]) == 2**24 + 1


def border(mask, outside):
    """Pixels of a mask with a neighbour that `outside` holds, by loops."""
    rows = []
    for y, x in np.argwhere(mask):
        beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        if any(outside(*each) for each in beside):
            rows.append((y, x))
    return np.array(rows).reshape(-1, 2)


def inside(mask, y, x):
    return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]


@settings(max_examples=30)
@given(SEEDS)
def test_figures_of_borders_are_those_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    true, found = (rng.random((2, 8, 9)) < rng.choice([0.0, 0.1, 0.6])).astype(int)
    true[rng.random(true.shape) < 0.1] = 255
    for k in (0, 1):
        masks = [(true == k), (found == k) & (true != 255)]
        edges = [
            border(each, lambda y, x, each=each: inside(each, y, x) and not each[y, x] and true[y, x] != 255)
            for each in masks
        ]
        boundary, distance = BoundaryF1(2, tolerance=1.5), HausdorffDistance(2)
        for metric in (boundary, distance):
            metric.update_state([true], [found])
        if all(map(len, edges)):
            gaps = cdist(*edges)
            recall, precision = (gaps.min(axis=1) <= 1.5).mean(), (gaps.min(axis=0) <= 1.5).mean()
            wanted = 2 * recall * precision / (recall + precision) if recall + precision else 0
        else:
            wanted = 0.0 if any(map(len, edges)) else np.nan
        assert boundary.per_class()[str(k)] == pytest.approx(wanted, nan_ok=True)
        edges = [border(each, lambda y, x, each=each: not inside(each, y, x) or not each[y, x]) for each in masks]
        wanted = np.nan
        if all(map(len, edges)):
            gaps = cdist(*edges)
            wanted = max(np.percentile(gaps.min(axis=side), 95) for side in (0, 1))
        assert distance.per_class()[str(k)] == pytest.approx(wanted, nan_ok=True)


def test_borders_by_hand():
    true = np.zeros((20, 20), int)
    true[5:15, 5:15] = 1
    moved = np.roll(true, 2, axis=1)
    distance = HausdorffDistance(2)
    distance.update_state([true, true, np.zeros_like(true)], [moved, np.zeros_like(true), np.zeros_like(true)])
    assert distance.per_class()["1"] == 2.0
    assert distance.result()["missed"] == 1
    near, far = BoundaryF1(2, tolerance=0.1), BoundaryF1(2, tolerance=0.01)  # 2.8 and 0.28 pixels
    for metric in (near, far):
        metric.update_state([true], [moved])
    assert near.result()["boundary_F1"] == 1.0
    assert 0 < far.per_class()["1"] < 0.5
    assert "boundary_F1" in near.figures().table()
    near.update_state([true], [np.zeros_like(true)])
    assert near.per_class()["1"] == 0.5


def panoptic_by_loops(true, predicted, classes, things, void):
    """PQ of one image, by sets of pixels."""

    def segments(image, with_crowds):
        found = {}
        for pixel, (kind, instance) in enumerate(image.reshape(-1, 2).tolist()):
            one_by_one = kind in things or (with_crowds and instance == -1 and kind != void)
            found.setdefault((kind, instance if one_by_one else 0), set()).add(pixel)
        return found

    wanted, found = segments(true, True), segments(predicted, False)
    hollow = wanted.pop((void, 0), set())
    found.pop((void, 0), None)
    rows = {}
    for k in range(classes):
        own = {key: pixels for key, pixels in wanted.items() if key[0] == k and key[1] != -1}
        guesses = {key: pixels for key, pixels in found.items() if key[0] == k}
        overlap, matched = [], set()
        for key, pixels in own.items():
            for guess, others in guesses.items():
                iou = len(pixels & others) / len((pixels | others) - (hollow & others))
                if iou > 0.5:
                    overlap.append(iou)
                    matched |= {key, ("guess", guess)}
        ignored = hollow | wanted.get((k, -1), set())
        false = [g for g, p in guesses.items() if ("guess", g) not in matched and len(p & ignored) <= len(p) / 2]
        below = len(overlap) + len(false) / 2 + (len(own) - len(overlap)) / 2
        rows[str(k)] = sum(overlap) / below if below else np.nan
    return rows


@settings(max_examples=80)
@given(SEEDS)
def test_panoptic_quality_is_that_of_loops_over_sets(seed):
    rng = np.random.default_rng(seed)
    true = np.stack([rng.choice([0, 1, 2, 255], (3, 4)), rng.integers(-1, 2, (3, 4))], axis=-1)
    true = true.repeat(3, axis=0).repeat(2, axis=1)
    guess = np.where(true == -1, 3, true)
    noise = rng.random(guess.shape[:2]) < rng.choice([0.05, 0.3])
    guess[noise] = np.stack([rng.choice([0, 1, 2, 255], noise.sum()), rng.integers(0, 3, noise.sum())], axis=-1)
    metric = PanopticQuality(3, things=[1, 2])
    metric.update_state([true], [guess])
    own = {name: row["PQ"] for name, row in metric.per_class().items()}
    assert own == pytest.approx(panoptic_by_loops(true, guess, 3, {1, 2}, 255), nan_ok=True)


def test_panoptic_quality_by_hand():
    """Stuff 0 of 6 pixels, thing 1: a dog of 4, a crowd of 4, and 2 void pixels."""
    line = [[0, 0]] * 6 + [[1, 1]] * 4 + [[1, -1]] * 4 + [[255, 0]] * 2
    true = np.array([line])
    guess = np.array([[[0, 9]] * 7 + [[1, 5]] * 3 + [[1, 6]] * 3 + [[1, 7]] + [[1, 7], [0, 3]]])
    metric = PanopticQuality(["sky", "dog"], things=[1])
    metric.update_state([true], [guess])
    rows = metric.per_class()
    assert rows["sky"] == pytest.approx({"PQ": 6 / 7, "SQ": 6 / 7, "RQ": 1.0})  # the last pixel is void
    # Three of the dog's four pixels are found; what lies in the crowd or the void is neither right nor wrong.
    assert rows["dog"] == pytest.approx({"PQ": 0.75, "SQ": 0.75, "RQ": 1.0})
    assert metric.result()["PQ"] == pytest.approx((6 / 7 + 0.75) / 2)
    assert metric.result()["PQ_stuff"] == pytest.approx(6 / 7)
    half = np.array([[[1, 1]] * 4])
    metric.update_state([half], [np.array([[[1, 1]] * 2 + [[0, 0]] * 2])])  # an IoU of 0.5 is no match
    assert metric.per_class()["dog"] == pytest.approx({"PQ": 0.375, "SQ": 0.75, "RQ": 0.5})
    assert metric.per_class()["sky"]["RQ"] == pytest.approx(1 / 1.5)
    assert "dog" in metric.figures().table()
    metric.reset_state()
    with pytest.raises(ArgumentError, match="at least one image"):
        metric.result()


MAP = np.zeros((2, 2), int)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BoundaryF1(2, tolerance=0), "positive"),
        (lambda: HausdorffDistance(2, percentile=101), "percentile"),
        (lambda: BoundaryF1(2).result(), "at least one image"),
        (lambda: BoundaryF1(2).update_state([MAP], []), "a mask for each"),
        (lambda: BoundaryF1(2).update_state([MAP], [MAP[:1]]), "one size"),
        (lambda: BoundaryF1(2).update_state([MAP], [MAP + 0.5]), "whole numbers"),
        (lambda: HausdorffDistance(2).update_state([MAP + 2], [MAP]), "a true class must be below"),
        (lambda: HausdorffDistance(2).update_state([MAP], [MAP + 2]), "a predicted class must be below"),
        (lambda: PanopticQuality(2, things=[2]), "things"),
        (lambda: PanopticQuality(2, things=[1], void=0), "void"),
        (lambda: PanopticQuality(2, [1]).update_state([MAP], [MAP]), r"\(H, W, 2\)"),
        (lambda: PanopticQuality(2, [1]).update_state([MAP], []), "a map for each"),
        (lambda: PanopticQuality(2, [1]).update_state([np.full((1, 1, 2), 2)], [MAP[None, :1]]), "below 2 or void"),
        (lambda: PanopticQuality(2, [1]).update_state([MAP[None, :1]], [MAP[None, :1] - [0, 1]]), "no crowd"),
    ],
)
def test_wrong_input_is_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_graphs_give_the_eager_figure():
    true, predicted = drawn(2)
    metric, other = MeanIoU(4), MeanIoU(4)
    free = tf.TensorSpec([None, None, None], tf.int64)
    tf.function(lambda y, p: metric.update_state(y, p), input_signature=[free, free])(true, predicted)
    other.update_state(true, predicted)
    assert float(metric.result()) == float(other.result())


def test_pixels_of_a_large_image_are_counted_to_the_last():
    """float32 stops at 2^24."""
    metric, side = PixelAccuracy(2), 2**12 + 1
    metric.update_state(np.zeros((1, side, side), "uint8"), np.zeros((1, side, side), "uint8"))
    assert float(np.array(metric.counts)[0, 0]) == side**2
