"""Losses of segmentation: forms of labels, ignored pixels, weights, empty masks, saturated logits, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_oracles import LABELS, LOGITS, extension, jaccard_loss, softmax

from kerasdl import losses, ops
from kerasdl.core.errors import ArgumentError

BY_LABELS = ("Dice", "Tversky", "FocalTversky", "LovaszSoftmax", "LovaszHinge", "OHEMCrossEntropy", "PixelCrossEntropy")
OF_PROBABILITIES = tuple(name for name in BY_LABELS if name != "LovaszHinge")


def each(names=BY_LABELS):
    return pytest.mark.parametrize("name", names)


def value_and_slopes(loss, labels, predictions):
    predictions = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        value = loss(labels, predictions)
    return float(value), tape.gradient(value, predictions).numpy()


@each()
def test_labels_of_every_form_give_one_loss(name):
    loss = getattr(losses, name)()
    wanted = float(loss(LABELS, LOGITS))
    for dtype in ("int32", "int64", "float32"):
        assert float(loss(LABELS.astype(dtype), LOGITS)) == wanted
    assert float(loss(LABELS[..., None], LOGITS)) == wanted
    marks = np.eye(3)[np.minimum(LABELS, 2)]
    marks[LABELS == 255] = 255
    for dtype in ("uint8", "int32", "float64"):
        assert float(loss(marks.astype(dtype), LOGITS)) == wanted
    signed = np.where(LABELS == 255, -100, LABELS.astype(int))
    assert float(getattr(losses, name)(ignore_label=-100)(signed, LOGITS)) == wanted


@each(OF_PROBABILITIES)
def test_one_hot_booleans_of_no_class_are_ignored(name):
    loss = getattr(losses, name)()
    marks = np.eye(3, dtype=bool)[np.minimum(LABELS, 2)] & (LABELS != 255)[..., None]
    assert float(loss(marks, LOGITS)) == float(loss(LABELS, LOGITS))


@each()
def test_ignored_pixels_change_neither_value_nor_slopes(name):
    loss = getattr(losses, name)()
    other = np.where((LABELS == 255)[..., None], 9.0, LOGITS).astype("float32")
    value, slopes = value_and_slopes(loss, LABELS, other)
    assert value == pytest.approx(float(loss(LABELS, LOGITS)), rel=1e-6)
    assert not slopes[LABELS == 255].any()
    assert slopes[LABELS != 255].any()


@each(OF_PROBABILITIES)
def test_probabilities_give_the_loss_of_logits(name):
    kind = getattr(losses, name)
    of_logits = float(kind()(LABELS, LOGITS))
    assert float(kind(from_logits=False)(LABELS, softmax(LOGITS).astype("float32"))) == pytest.approx(
        of_logits, rel=1e-5
    )
    mask, logit = (LABELS == 1).astype("uint8"), LOGITS[..., :1]
    p = (1 / (1 + np.exp(-logit))).astype("float32")
    assert float(kind(from_logits=False)(mask, p)) == pytest.approx(float(kind()(mask, logit)), rel=1e-5)


@each()
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_and_slopes_are_finite_for_masks_of_every_kind(name, scale, channels):
    logits = LOGITS[..., :channels] * scale
    for labels in (np.zeros_like(LABELS), np.full_like(LABELS, 255), np.ones_like(LABELS)):
        value, slopes = value_and_slopes(getattr(losses, name)(), labels, logits)
        assert np.isfinite(value)
        assert np.isfinite(slopes).all()
        if labels.min() == 255:
            assert abs(value) <= (6e-6 if name == "FocalTversky" else 0)  # its floor of 1e-7 to the power 3/4
            assert not slopes.any()


@each()
def test_the_right_answer_costs_nothing_and_the_wrong_one_much(name):
    labels = np.where(LABELS == 255, 0, LABELS)
    right = (np.eye(3)[labels] * 60 - 30).astype("float32")
    assert float(getattr(losses, name)()(labels, right)) < 1e-4
    assert float(getattr(losses, name)()(labels, -right)) > 0.5


@each()
def test_a_label_beyond_the_classes_gives_nan_for_its_image_alone(name):
    wrong = LABELS.copy()
    wrong[1, 2, 2] = 3
    values = getattr(losses, name)(reduction=None)(wrong, LOGITS)
    assert np.isnan(values).tolist() == [False, True, False]
    assert np.isnan(getattr(losses, name)(ignore_label=None)(LABELS, LOGITS))


@each()
def test_class_weights_weigh_classes(name):
    kind = getattr(losses, name)
    alone = [kind(class_weights=np.eye(3)[k])(LABELS[2:], LOGITS[2:]) for k in range(3)]
    even = kind(class_weights=(2, 2, 2))(LABELS, LOGITS)
    assert float(even) == pytest.approx(float(kind()(LABELS, LOGITS)), rel=1e-6)
    assert len({round(float(value), 4) for value in alone}) == 3
    if name not in ("OHEMCrossEntropy", "PixelCrossEntropy"):  # they weigh pixels
        mixed = kind(class_weights=(1, 2, 5))(LABELS[2:], LOGITS[2:])
        assert float(mixed) == pytest.approx(float(alone[0] + 2 * alone[1] + 5 * alone[2]) / 8, rel=1e-5)
    with pytest.raises(ArgumentError, match="each of the 3 classes"):
        kind(class_weights=(1, 2))(LABELS, LOGITS)


@each()
def test_weights_of_images_and_reductions_are_those_of_keras(name):
    kind = getattr(losses, name)
    values = kind(reduction=None)(LABELS, LOGITS).numpy()
    assert values.shape == (3,)
    weighted = kind()(LABELS, LOGITS, sample_weight=np.array([1.0, 0, 3]))
    assert float(weighted) == pytest.approx((values[0] + 3 * values[2]) / 3, rel=1e-6)
    assert float(kind(reduction="sum")(LABELS, LOGITS)) == pytest.approx(values.sum(), rel=1e-6)
    with pytest.raises(ArgumentError, match="one number an image"):
        kind()(LABELS, LOGITS, sample_weight=np.ones(LABELS.shape[:2]))


@each()
def test_free_sizes_and_graphs_give_the_eager_loss(name):
    loss = getattr(losses, name)()
    shape = tf.TensorSpec([None, None, None, 3])
    compiled = tf.function(lambda y, p: loss(y, p), input_signature=[tf.TensorSpec([None] * 3, tf.uint8), shape])
    assert float(compiled(LABELS, LOGITS)) == pytest.approx(float(loss(LABELS, LOGITS)), rel=1e-5)


@each()
@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 4, 5, 2), (3, 20)])
def test_labels_of_another_shape_are_refused(name, shape):
    with pytest.raises(ArgumentError, match="labels must be"):
        getattr(losses, name)()(np.zeros(shape, "uint8"), LOGITS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.Dice(smooth=0), "smooth"),
        (lambda: losses.Tversky(alpha=-1), "alpha"),
        (lambda: losses.FocalTversky(gamma=0.5), "gamma"),
        (lambda: losses.OHEMCrossEntropy(threshold=0), "threshold"),
        (lambda: losses.OHEMCrossEntropy(least_share=2), "least_share"),
        (lambda: losses.Dice(class_weights=(0, 0)), "above 0"),
        (lambda: losses.Dice(ignore_label="void"), "ignore_label"),
        (lambda: losses.LovaszHinge(from_logits=False), "no probabilities"),
        (lambda: losses.Boundary()(LABELS, LOGITS), "distances must have the shape"),
        (lambda: ops.signed_distances(np.array([[0.5]]), 2), "whole numbers"),
        (lambda: ops.signed_distances(np.array([[2]]), 2), "below 2"),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Tversky", {"alpha": 0.4, "beta": 0.9, "smooth": 0.1, "from_logits": False, "count_absent": True}),
        ("FocalTversky", {"alpha": 0.4, "beta": 0.9, "gamma": 2.0, "smooth": 0.1, "ignore_label": None}),
        ("Dice", {"smooth": 0.1, "multi_label": True, "class_weights": (1.0, 2.0, 3.0)}),
        ("LovaszSoftmax", {"from_logits": False, "multi_label": True, "reduction": "sum"}),
        ("LovaszHinge", {"ignore_label": 7, "class_weights": (1.0, 2.0, 3.0), "name": "own"}),
        ("OHEMCrossEntropy", {"threshold": 0.5, "least_share": 0.2, "from_logits": False, "ignore_label": 7}),
    ],
)
def test_settings_survive_a_save(name, given):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(getattr(losses, name)(**given)))
    assert {key: getattr(again, key) for key in given} == given


def test_classes_that_overlap_are_masks_of_their_own():
    marks, logits = np.zeros((1, 2, 2, 2)), LOGITS[:1, :2, :2, :2]
    marks[0, 0] = 1  # of both classes
    alone = [float(losses.Dice()(marks[..., k], logits[..., k : k + 1])) for k in range(2)]
    assert float(losses.Dice(multi_label=True)(marks, logits)) == pytest.approx(np.mean(alone), rel=1e-6)


def test_absent_classes_count_on_demand():
    labels, sure = np.zeros((1, 2, 2), int), np.tile(np.float32([30, 0, 0]), (1, 2, 2, 1))
    assert float(losses.Dice(count_absent=True)(labels, sure)) < 1e-6
    even = np.zeros((1, 2, 2, 3), "float32")
    counted, skipped = (float(losses.Dice(count_absent=flag)(labels, even)) for flag in (True, False))
    third = 4 / 3 / (4 / 3 + 1)  # of a class that is not there
    assert counted == pytest.approx((skipped + 2 * third) / 3, rel=1e-5)


@settings(max_examples=12)
@given(st.integers(0, 1_000_000))
def test_the_lovasz_loss_is_the_jaccard_loss_at_masks_and_convex_between(seed):
    rng = np.random.default_rng(seed)
    truth, masks = rng.integers(0, 2, 8), rng.integers(0, 2, (2, 8)).astype("float32")
    loss = losses.LovaszSoftmax(from_logits=False)

    def of(mask):
        return float(loss(truth[None], mask[None, :, None].astype("float32")))

    for mask in masks:
        wrong = set(np.flatnonzero(mask != truth))
        assert of(mask) == pytest.approx(jaccard_loss(truth, wrong), abs=1e-6)
    scores = rng.random(8).astype("float32")
    assert of(scores) == pytest.approx(extension(truth, np.abs(truth - scores)), abs=1e-6)
    assert of(masks.mean(axis=0)) <= (of(masks[0]) + of(masks[1])) / 2 + 1e-6


def test_pixel_cross_entropy_is_that_of_keras():
    kept = LABELS != 255
    wanted = keras.losses.sparse_categorical_crossentropy(np.where(kept, LABELS, 0), LOGITS, from_logits=True).numpy()
    means = [one[there].mean() if there.any() else 0 for one, there in zip(wanted, kept, strict=True)]
    loss = losses.PixelCrossEntropy(reduction=None)
    np.testing.assert_allclose(loss(LABELS, LOGITS), means, rtol=1e-5)
    maps = np.random.default_rng(0).uniform(0, 9, LABELS.shape).astype("float32")
    weighted = [
        (one * of)[there].sum() / max(there.sum(), 1) for one, of, there in zip(wanted, maps, kept, strict=True)
    ]
    np.testing.assert_allclose(loss(LABELS, LOGITS, maps), weighted, rtol=1e-5)
    np.testing.assert_allclose(loss(LABELS, LOGITS, np.full_like(maps, 2)), 2 * loss(LABELS, LOGITS), rtol=1e-6)
    with pytest.raises(ArgumentError, match="one number an image, or one a pixel"):
        loss(LABELS, LOGITS, maps[:, 1:])
    mask = LABELS == 1
    foreground = losses.PixelCrossEntropy(ignore_label=None)(mask, LOGITS[..., :1])
    assert float(foreground) == pytest.approx(
        float(keras.losses.BinaryCrossentropy(from_logits=True)(mask[..., None], LOGITS[..., :1])), rel=1e-5
    )


def test_pixel_cross_entropy_of_classes_that_overlap():
    marks = np.random.default_rng(0).integers(0, 2, LOGITS.shape)
    loss = losses.PixelCrossEntropy(multi_label=True)
    wanted = keras.losses.BinaryCrossentropy(from_logits=True)(marks, LOGITS)
    assert float(loss(marks, LOGITS)) == pytest.approx(float(wanted), rel=1e-5)
    marks[0, 0, 0] = 255
    assert np.isfinite(loss(marks, LOGITS))


def test_hard_pixels_by_hand():
    """Of four pixels two are below 0.7; the share of three quarters takes one more."""
    p = np.array([[0.9, 0.8, 0.5, 0.2]], "float32")[..., None]
    ones = np.ones((1, 4), int)
    two, three = (losses.OHEMCrossEntropy(0.7, share, from_logits=False)(ones, p) for share in (0.25, 0.75))
    assert float(two) == pytest.approx(-np.log(0.1) / 2, rel=1e-5)
    assert float(three) == pytest.approx(-np.log(0.08) / 3, rel=1e-5)
    everything = float(losses.OHEMCrossEntropy(1.0)(np.where(LABELS == 255, 0, LABELS), LOGITS))
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(np.where(LABELS == 255, 0, LABELS), LOGITS)
    assert everything == pytest.approx(float(plain), rel=1e-5)


def test_signed_distances_by_hand_and_the_boundary_loss_of_them():
    labels = np.array([[0, 1, 1, 0, 255]])
    distances = ops.signed_distances(labels, 3)
    assert distances[0, :, 1].tolist() == [0.5, -0.5, -0.5, 0.5, 0]
    assert distances[0, :, 0].tolist() == [-0.5, 0.5, 0.5, -0.5, 0]
    assert not distances[..., 2].any()
    right, wrong = np.eye(3)[[[0, 1, 1, 0, 0]]] * 60, np.eye(3)[[[1, 0, 0, 1, 0]]] * 60
    assert float(losses.Boundary()(distances[None], right[None].astype("float32"))) == pytest.approx(-0.4)
    assert float(losses.Boundary()(distances[None], wrong[None].astype("float32"))) == pytest.approx(0.4)
    weighted = losses.Boundary(from_logits=False, class_weights=(0, 1, 0))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(weighted))
    assert float(again(distances[None], np.full((1, 1, 5, 3), 0.5, "float32"))) == 0.0


@each()
def test_slopes_lead_from_a_wrong_answer_to_a_right_one(name):
    """A single weight, -1 at the start, must become positive."""
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype("float32")
    labels, loss, weight = (images[..., 0] > 0).astype("uint8"), getattr(losses, name)(), tf.Variable(-1.0)
    first = float(loss(labels, weight * images))
    for _ in range(12):
        with tf.GradientTape() as tape:
            value = loss(labels, weight * images)
        weight.assign_sub(0.3 * tf.sign(tape.gradient(value, weight)))
    assert float(weight) > 1
    assert float(value) < 0.8 * first


@pytest.mark.parametrize("loss", [losses.LovaszSoftmax, losses.LovaszHinge])
def test_shares_of_classes_are_refused_where_the_loss_is_not_defined_for_them(loss):
    marks = np.eye(3, dtype="float32")[np.minimum(LABELS, 2)]
    soft = 0.9 * marks + 0.1 / 3
    with pytest.raises(ArgumentError, match="must be whole numbers, not shares; got 0"):
        loss()(soft, LOGITS)
    in_graph = tf.function(lambda y: loss(reduction=None)(y, LOGITS))
    mixed = np.concatenate([soft[:1], marks[1:]])
    np.testing.assert_array_equal(np.isnan(in_graph(tf.constant(mixed))), [True] + [False] * (len(LABELS) - 1))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", keras.DTypePolicy("mixed_bfloat16")])
def test_sums_over_pixels_are_of_float32(dtype):
    with pytest.raises(ArgumentError, match="dtype of a loss of segmentation must be float32"):
        losses.Dice(dtype=dtype)
    halves = tf.cast(LOGITS, "bfloat16")
    expected = losses.Dice(dtype="float32")(LABELS, tf.cast(halves, "float32"))
    np.testing.assert_allclose(losses.Dice()(LABELS, halves), expected, rtol=1e-6)
