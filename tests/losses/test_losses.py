"""Every public loss against its closed form, and through a save."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from mask_oracles import CASES as OF_MASKS
from pair_oracles import OF_PAIRS
from scipy.stats import norm

from kerasdl import losses
from kerasdl.core import ArgumentError
from kerasdl.ops import aligned_overlaps

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
LABELS = np.array([0, 3, 1, 2, 2], np.int32)


def smoothed_cross_entropy(labels, logits):
    targets = 0.1 / 4 + 0.9 * np.eye(4)[labels]
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -(targets * log_probabilities).sum(axis=-1).mean()


def focal(labels, logits):
    p = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))[np.arange(len(labels)), labels]
    return (-((1 - p) ** 2) * np.log(p)).mean()


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(float)))


def entropy(targets, p):
    return -targets * np.log(p) - (1 - targets) * np.log(1 - p)


def sigmoid_focal(targets, logits):
    p = sigmoid(logits)
    positive = -0.25 * (1 - p) ** 2 * np.log(p)
    return (targets * positive - (1 - targets) * 0.75 * p**2 * np.log(1 - p)).sum(axis=-1).mean()


def quality_focal(targets, logits):
    p = sigmoid(logits)
    return (np.abs(targets - p) ** 2 * entropy(targets, p)).sum(axis=-1).mean()


def varifocal(targets, logits):
    p = sigmoid(logits)
    return np.where(targets > 0, targets * entropy(targets, p), -0.75 * p**2 * np.log(1 - p)).sum(axis=-1).mean()


def distribution_focal(distances, logits):
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    below = np.minimum(distances.astype(int), logits.shape[-1] - 2)
    share = distances - below
    rows = np.arange(len(distances))
    return -((1 - share) * log_p[rows, below] + share * log_p[rows, below + 1]).mean()


def chain(labels, potentials):
    """Two tokens: the score of one pair of tags against those of all pairs."""
    pairs = potentials[:, 0, 0, :, None] + potentials[:, 1]
    chosen = pairs[np.arange(len(labels)), labels[:, 0], labels[:, 1]]
    return (np.log(np.exp(pairs).sum((1, 2))) - chosen).mean()


def smooth_l1(targets, predictions):
    gap = np.abs(targets - predictions)
    return np.where(gap < 0.5, gap**2, gap - 0.25).sum(axis=-1).mean()


def overlap_loss(kind):
    return lambda boxes, others: np.mean(1 - np.array(aligned_overlaps(boxes, others, kind)))


LEVELS = (0.1, 0.5, 0.9)


def pinball(targets, quantiles):
    errors = targets[..., None] - quantiles
    return np.where(errors > 0, np.array(LEVELS) * errors, (np.array(LEVELS) - 1) * errors).mean()


def gaussian_nll(targets, pairs):
    return -norm.logpdf(targets, pairs[..., 0], np.exp(pairs[..., 1])).mean()


MARKS, QUALITIES = np.eye(4, dtype="float32")[LABELS], np.eye(4, dtype="float32")[LABELS] * 0.6
DISTANCES = np.array([0.0, 0.4, 2.5, 3.0, 1.0], "float32")
BOXES = np.array([[0, 0, 4, 4], [1, 1, 5, 3], [0, 0, 2, 2], [3, 3, 3, 5], [7, 7, 9, 9]], "float32")
# loss: how it is made, what NumPy makes of labels and predictions.
PAIRS = np.random.default_rng(1).normal(size=(5, 2, 3, 3)).astype("float32")
PAIR_LABELS = np.array([[0, 2], [1, 1], [2, 0], [0, 0], [1, 2]], np.int32)
CASES = {
    "CRFLoss": (losses.CRFLoss, chain, PAIR_LABELS, PAIRS),
    "Focal": (lambda: losses.Focal(2.0), focal, LABELS, LOGITS),
    "SmoothedCrossEntropy": (lambda: losses.SmoothedCrossEntropy(0.1), smoothed_cross_entropy, LABELS, LOGITS),
    "SigmoidFocal": (losses.SigmoidFocal, sigmoid_focal, MARKS, LOGITS),
    "QualityFocal": (losses.QualityFocal, quality_focal, QUALITIES, LOGITS),
    "Varifocal": (losses.Varifocal, varifocal, QUALITIES, LOGITS),
    "DistributionFocal": (losses.DistributionFocal, distribution_focal, DISTANCES, LOGITS),
    "Pinball": (lambda: losses.Pinball(LEVELS), pinball, LOGITS[..., None], LOGITS[..., None, None] * [0.5, 1, 2]),
    "GaussianNLL": (losses.GaussianNLL, gaussian_nll, LOGITS[:, :2], LOGITS.reshape(5, 2, 2)),
    "SmoothL1": (lambda: losses.SmoothL1(0.5), smooth_l1, MARKS, LOGITS),
    **{
        name: (getattr(losses, name), overlap_loss(name.lower()), BOXES, BOXES[::-1].copy())
        for name in ("IoU", "GIoU", "DIoU", "CIoU")
    },
    **OF_MASKS,
    **OF_PAIRS,
}


def test_no_public_loss_escapes():
    assert set(CASES) == set(losses.__all__)


@pytest.mark.parametrize("name", sorted(CASES))
def test_loss_is_its_closed_form_and_survives_a_save(name):
    make, formula, targets, predictions = CASES[name]
    loss = make()
    assert float(loss(targets, predictions)) == pytest.approx(formula(targets, predictions), rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(targets, predictions)) == float(loss(targets, predictions))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SigmoidFocal", {"alpha": 0.7, "gamma": 1.5, "from_logits": False}),
        ("QualityFocal", {"beta": 1.5, "from_logits": False}),
        ("Varifocal", {"alpha": 0.6, "gamma": 1.5, "from_logits": False}),
        ("GIoU", {}),
    ],
)
def test_settings_of_losses_of_detectors_survive_a_save(name, settings):
    given = {**settings, "reduction": "sum", "name": "own"}
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(getattr(losses, name)(**given)))
    assert type(again) is getattr(losses, name)
    assert {key: getattr(again, key) for key in given} == given


@pytest.mark.parametrize("name", ["SigmoidFocal", "QualityFocal", "Varifocal"])
def test_losses_of_independent_classes_take_probabilities_and_extreme_logits(name):
    make, _, targets, logits = CASES[name]
    of_scores = getattr(losses, name)(from_logits=False)(targets, sigmoid(logits).astype("float32"))
    assert float(of_scores) == pytest.approx(float(make()(targets, logits)), rel=1e-4)
    extreme = tf.constant([[1e4, -1e4, 0.0, 60.0]])
    with tf.GradientTape() as tape:
        tape.watch(extreme)
        value = make()(targets[:1], extreme)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, extreme)).all()


def test_smooth_l1_is_the_huber_loss_over_its_delta():
    own = losses.SmoothL1(0.5)(MARKS, LOGITS)
    assert float(own) == pytest.approx(4 * float(keras.losses.Huber(0.5)(MARKS, LOGITS)) / 0.5, rel=1e-5)


def test_a_distance_beyond_the_last_counts_as_the_last():
    loss = losses.DistributionFocal()
    assert float(loss(np.array([99.0]), LOGITS[:1])) == float(loss(np.array([3.0]), LOGITS[:1]))


def test_a_focal_loss_without_focus_is_cross_entropy():
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(losses.Focal(0.0)(LABELS, LOGITS)) == pytest.approx(float(plain(LABELS, LOGITS)), rel=1e-6)
    sure = np.eye(4, dtype="float32")[LABELS] * 30
    assert float(losses.Focal()(LABELS, sure)) < 1e-8


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_slope_where_the_answer_is_sure(gamma):
    logits, loss = tf.constant([[40.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), losses.Focal(gamma)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = loss(np.array([0, 0]), logits)
    slopes = tape.gradient(total, logits).numpy()
    assert np.isfinite(slopes).all()
    assert np.abs(slopes[0]).max() < 1e-6 < np.abs(slopes[1]).max()


def test_a_pinball_loss_is_least_at_the_quantile_and_refuses_other_levels():
    values = np.random.default_rng(0).normal(size=(2001, 1))
    loss = losses.Pinball([0.8])
    places = np.linspace(-2, 2, 81)
    found = [float(loss(values, np.full((2001, 1, 1), place))) for place in places]
    assert places[np.argmin(found)] == pytest.approx(np.quantile(values, 0.8), abs=0.05)
    with pytest.raises(ArgumentError, match="rising levels"):
        losses.Pinball([0.9, 0.1])
    with pytest.raises(ArgumentError, match="the 1 quantiles last"):
        loss(values, np.zeros((2001, 1, 2)))
    with pytest.raises(ArgumentError, match="shape of the labels"):
        loss(np.zeros((3, 3, 1)), np.zeros((3, 3, 1)))


def test_a_normal_likelihood_has_a_bound_and_takes_pairs():
    loss = losses.GaussianNLL(least=0.5)
    assert float(loss(np.zeros((1, 1)), np.array([[[0.0, -9.0]]]))) == pytest.approx(-norm.logpdf(0, 0, 0.5))
    with pytest.raises(ArgumentError, match="logarithm"):
        loss(np.zeros((1, 1)), np.zeros((1, 1, 3)))
    with pytest.raises(ArgumentError, match="shape of the labels"):
        loss(np.zeros((1, 3, 1)), np.zeros((1, 3, 2)))
