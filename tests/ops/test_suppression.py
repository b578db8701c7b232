"""Suppression against plain loops and TensorFlow's own, in eager, in a graph, in TFLite and in ONNX."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kerasdl import ops
from kerasdl.core.errors import ArgumentError
from kerasdl.deploy import export_onnx, export_tflite, run_exported


def drawn(seed, batch=2, count=12, classes=3, side=40, steps=20):
    """Boxes on whole numbers, so that some are equal, and scores of `steps` levels, so that some tie."""
    rng = np.random.default_rng(seed)
    corners, sides = rng.integers(0, side, (batch, count, 2)), rng.integers(0, 20, (batch, count, 2))
    boxes = np.concatenate([corners, corners + sides], axis=-1).astype("float32")
    return boxes, (rng.integers(0, steps + 1, (batch, count, classes)) / steps).astype("float32")


def iou(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


def ranked(boxes, scores, min_score):
    pairs = [(s, a * scores.shape[1] + k) for a, row in enumerate(scores) for k, s in enumerate(row) if s > min_score]
    return [
        (s, boxes[place // scores.shape[1]], place % scores.shape[1])
        for s, place in sorted(pairs, key=lambda p: (-p[0], p[1]))
    ]


def greedy(boxes, scores, overlap, min_score, class_agnostic, candidates):
    kept = []
    for score, box, of_class in ranked(boxes, scores, min_score)[:candidates]:
        rivals = [other for _, other, other_class in kept if class_agnostic or other_class == of_class]
        if all(iou(box, other) <= overlap for other in rivals):
            kept.append((score, box, of_class))
    return kept


def assert_same(found, expected, max_boxes):
    for boxes, scores, classes, count, rows in zip(*map(np.array, found), expected, strict=True):
        rows = rows[:max_boxes]
        assert count == len(rows)
        np.testing.assert_allclose(scores[:count], [row[0] for row in rows], atol=1e-6)
        np.testing.assert_array_equal(classes[:count], [row[2] for row in rows])
        np.testing.assert_array_equal(boxes[:count], np.array([row[1] for row in rows]).reshape(-1, 4))
        assert not any(each[count:].any() for each in (boxes, scores, classes))


@given(
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.35, 0.55, 1.0]),
    st.booleans(),
    st.sampled_from([1, 5, 60]),
    st.sampled_from([3, 8, 20, 1000]),
)
def test_nms_is_greedy_suppression(seed, overlap, class_agnostic, max_boxes, candidates):
    boxes, scores = drawn(seed)
    settings = {"overlap": overlap, "min_score": 0.2, "class_agnostic": class_agnostic, "candidates": candidates}
    expected = [greedy(*each, **settings) for each in zip(boxes, scores, strict=True)]
    assert_same(ops.nms(boxes, scores, max_boxes=max_boxes, **settings), expected, max_boxes)


@pytest.mark.parametrize("seed", range(5))
def test_nms_equals_that_of_tensorflow(seed):
    rng = np.random.default_rng(seed)
    centres, sides = rng.uniform(0, 100, (3, 80, 2)), rng.uniform(5, 40, (3, 80, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1).astype("float32")
    scores = rng.random((3, 80, 4)).astype("float32")
    found = ops.nms(boxes, scores, overlap=0.4, min_score=0.3, max_boxes=70)
    own = tf.image.combined_non_max_suppression(boxes[:, :, None], scores, 80, 70, 0.4, 0.3, clip_boxes=False)
    np.testing.assert_array_equal(found.count, own.valid_detections)
    np.testing.assert_array_equal(found.scores, own.nmsed_scores)
    np.testing.assert_array_equal(found.boxes, own.nmsed_boxes)
    np.testing.assert_array_equal(found.classes, own.nmsed_classes)


def test_a_long_chain_of_boxes_is_followed_to_its_end():
    """Each box overlaps the next alone, so that every second one stays."""
    left = np.arange(40) * 4.0
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=-1)[None].astype("float32")
    scores = np.linspace(1, 0.5, 40)[None, :, None].astype("float32")
    kept = ops.nms(boxes, scores, overlap=0.4, max_boxes=40)
    assert int(kept.count[0]) == 20
    np.testing.assert_array_equal(kept.boxes[0, :20, 0], left[::2])


@pytest.mark.parametrize("kind", ["nms", "soft_nms", "matrix_nms"])
def test_a_score_that_is_no_number_hides_no_other_box(kind):
    boxes = np.array([[[0, 0, 4, 4], [9, 9, 12, 12], [20, 20, 24, 24]]], "float32")
    found = getattr(ops, kind)(boxes, np.array([[[np.nan], [0.9], [0.2]]], "float32"), max_boxes=3)
    np.testing.assert_allclose(found.scores, [[0.9, 0.2, 0.0]])
    np.testing.assert_array_equal(found.boxes[0, 0], boxes[0, 1])
    assert int(found.count[0]) == 2


def test_boxes_for_each_class_are_suppressed_apart():
    boxes, scores = drawn(0, classes=2)
    each = np.stack([boxes, boxes + 100], axis=2)
    found = ops.nms(each, scores, overlap=0.3, max_boxes=30)
    alone = [ops.nms(each[:, :, k], scores[:, :, k : k + 1], overlap=0.3, max_boxes=30) for k in range(2)]
    np.testing.assert_array_equal(found.count, alone[0].count + alone[1].count)
    for k, part in enumerate(alone):
        for image in range(2):
            own = np.array(found.classes[image, : found.count[image]]) == k
            np.testing.assert_array_equal(
                np.array(found.boxes[image, : found.count[image]])[own], part.boxes[image, : part.count[image]]
            )


def softly(boxes, scores, kind, sigma, overlap, min_score, max_boxes):
    left, taken = ranked(boxes, scores, min_score), []
    while left and len(taken) < max_boxes:
        best = max(range(len(left)), key=lambda k: (left[k][0], -k))
        score, box, of_class = left.pop(best)
        taken.append((score, box, of_class))
        factor = {
            "gaussian": lambda shared: np.exp(-(shared**2) / sigma),
            "linear": lambda shared: 1 - shared if shared >= overlap else 1.0,
        }[kind]
        left = [(s * factor(iou(box, b)) if k == of_class else s, b, k) for s, b, k in left]
        left = [row for row in left if row[0] > min_score]
    return taken


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_soft_nms_lowers_scores_as_a_loop_does(seed, kind):
    boxes, scores = drawn(seed, steps=10_000)
    settings = {"kind": kind, "sigma": 0.4, "overlap": 0.3, "min_score": 0.3, "max_boxes": 10}
    expected = [softly(*each, **settings) for each in zip(boxes, scores, strict=True)]
    assert_same(ops.soft_nms(boxes, scores, **settings), expected, 10)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_matrix_nms_is_its_formula(seed, kind):
    boxes, scores = drawn(seed, steps=10_000)
    found = ops.matrix_nms(boxes, scores, kind=kind, sigma=0.4, min_score=0.3, max_boxes=40)
    decay = {
        "gaussian": lambda shared, covered: np.exp(-(shared**2 - covered**2) / 0.4),
        "linear": lambda shared, covered: (1 - shared) / max(1 - covered, 1e-6),
    }[kind]
    expected = []
    for each in zip(boxes, scores, strict=True):
        rows = ranked(*each, 0.3)

        def better(j, rows=rows):
            return [i for i in range(j) if rows[i][2] == rows[j][2] and iou(rows[i][1], rows[j][1]) > 0]

        covered = [max((iou(rows[i][1], rows[j][1]) for i in better(j)), default=0.0) for j in range(len(rows))]
        lowered = []
        for j, (score, box, of_class) in enumerate(rows):
            factors = [decay(iou(rows[i][1], box), covered[i]) for i in better(j)]
            lowered.append((score * min([1.0, *factors]), box, of_class))
        expected.append(sorted((row for row in lowered if row[0] > 0.3), key=lambda row: -row[0]))
    assert_same(found, expected, 40)


@keras.saving.register_keras_serializable("test_suppression")
class Suppression(keras.layers.Layer):
    """One of the functions as a layer, for export."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, boxes, scores):
        return getattr(ops, self.kind)(boxes, scores, max_boxes=8, min_score=0.7, candidates=10)._asdict()

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@pytest.mark.parametrize("kind", ["nms", "soft_nms", "matrix_nms"])
def test_files_suppress_as_the_functions_do(kind, tmp_path):
    boxes, scores = keras.Input((12, 4), name="raw_boxes"), keras.Input((12, 3), name="raw_scores")
    model = keras.Model([boxes, scores], Suppression(kind, name="suppression")(boxes, scores))
    given = dict(zip(("raw_boxes", "raw_scores"), drawn(3, batch=6, steps=10_000), strict=True))
    expected = model(given)
    for path, write in (("m.tflite", export_tflite), ("m.onnx", export_onnx)):
        write(model, tmp_path / path)
        found = run_exported(tmp_path / path, given)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=f"{path} {name}")
    assert len({*np.array(expected["count"])}) > 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.nms(np.zeros((1, 2, 4)), np.zeros((1, 2))),
        lambda: ops.nms(np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 2))),
        lambda: ops.nms(np.zeros((1, 2, 4)), np.zeros((1, 2, 2)), overlap=1.5),
        lambda: ops.nms(np.zeros((1, 2, 4)), np.zeros((1, 2, 2)), min_score=-1),
        lambda: ops.nms(np.zeros((1, 2, 4)), np.zeros((1, 2, 2)), max_boxes=0),
        lambda: ops.soft_nms(np.zeros((1, 2, 4)), np.zeros((1, 2, 2)), sigma=0),
        lambda: ops.soft_nms(np.zeros((1, 2, 4)), np.zeros((1, 2, 2)), kind="hard"),
        lambda: ops.matrix_nms(np.zeros((1, 2, 4)), np.zeros((1, 2, 2)), kind="hard"),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ArgumentError, match="must"):
        call()
