"""SSD: matching, mining, coding, the paper's shapes, one image by heart."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from two_squares import BOXES, average_precision, labels_of, trained, two_squares
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.ops import encode_offsets, pairwise_overlaps
from kerasdl.vision.detection import Detector
from kerasdl.vision.detection.method import strides_of, true_batch
from kerasdl.vision.detection.ssd import SSDMethod, ssd

METHOD, SIZE = SSDMethod(), (48, 48)
VARIANCES = (0.1, 0.1, 0.2, 0.2)


def heads_of(network, batch, value=0.0):
    return {name: tf.fill((batch, *each.shape[1:]), value) for name, each in network.output.items()}


def plain_matches(anchors, boxes):
    """Returns the matches of section 2.2 by a loop: IoU of a half or more, then the best anchor of each box."""
    overlaps = np.asarray(pairwise_overlaps(anchors, np.array(boxes, "float32")))
    matches = [int(row.argmax()) if row.max() >= 0.5 else -1 for row in overlaps]
    for number in range(len(boxes)):
        matches[int(overlaps[:, number].argmax())] = number
    return matches


def test_targets_equal_a_loop(tiny):
    network = tiny("ssd300")
    boxes = [[*BOXES, (40, 2, 42, 5)], [(0, 0, 48, 48)]]
    classes = [[2, 0, 1], [1]]
    heads = heads_of(network, 2)
    targets = METHOD.targets(heads, true_batch(labels_of(boxes, classes)), SIZE)
    anchors = METHOD.anchors(heads, SIZE)
    for image in range(2):
        matches = plain_matches(anchors, boxes[image])
        positive = np.array(matches) >= 0
        assert positive.sum() >= len(boxes[image])
        np.testing.assert_array_equal(targets.positive[image], positive)
        np.testing.assert_array_equal(targets.counts[image], 1)
        expected = [classes[image][each] + 1 if each >= 0 else 0 for each in matches]
        np.testing.assert_array_equal(targets.classes[image], expected)
        own = np.array([boxes[image][max(each, 0)] for each in matches], "float32")
        coded = np.asarray(encode_offsets(own, anchors, VARIANCES)) * positive[:, None]
        np.testing.assert_allclose(targets.offsets[image], coded, atol=1e-5)


def test_decoding_of_targets_gives_the_true_boxes_back(tiny):
    network = tiny("ssd300")
    truth = true_batch(two_squares()[1])
    heads = heads_of(network, 1)
    targets = METHOD.targets(heads, truth, SIZE)
    start, coded = 0, {}
    for stride in strides_of(heads, "boxes"):
        name = f"boxes_stride{stride}"
        places = int(np.prod(heads[name].shape[1:])) // 4
        coded[name] = tf.reshape(targets.offsets[:, start : start + places], heads[name].shape)
        start += places
    boxes, scores = METHOD.decode({**heads, **coded}, SIZE)
    assert scores.shape == (1, start, 3)
    positive = np.asarray(targets.positive[0]) > 0
    true = np.asarray(truth.boxes)[0][:2]
    by_class = {3: true[0], 1: true[1]}
    expected = [by_class[int(each)] for each in np.asarray(targets.classes[0])[positive]]
    np.testing.assert_allclose(np.asarray(boxes[0])[positive], expected, atol=1e-3)


def test_loss_counts_the_hardest_background_three_times_the_positives(tiny):
    network = tiny("ssd300")
    rng = np.random.default_rng(0)
    heads = {
        name: tf.constant(rng.normal(size=(2, *each.shape[1:])), "float32") for name, each in network.output.items()
    }
    truth = true_batch(labels_of([BOXES[:1], []], [[1], []]))
    targets = METHOD.targets(heads, truth, SIZE)
    parts = METHOD.loss(heads, targets, SIZE)
    logits = np.asarray(METHOD.logits(heads))[0]
    entropy = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(logits)), np.asarray(targets.classes[0])]
    positive = np.asarray(targets.positive[0]) > 0
    hardest = np.sort(entropy[~positive])[::-1][: 3 * positive.sum()]
    np.testing.assert_allclose(parts["classes"][0], (entropy[positive].sum() + hardest.sum()) / positive.sum(), 1e-5)
    gaps = []
    for stride in strides_of(heads, "boxes"):
        gaps.append(np.reshape(heads[f"boxes_stride{stride}"][0], (-1, 4)))
    gaps = np.abs(np.concatenate(gaps) - np.asarray(targets.offsets[0]))[positive]
    smooth = np.where(gaps < 1, gaps**2 / 2, gaps - 0.5).sum() / positive.sum()
    np.testing.assert_allclose(parts["boxes"][0], smooth, 1e-5)
    np.testing.assert_array_equal([parts["classes"][1], parts["boxes"][1]], 0)  # no positive, no background


def test_crowds_teach_nothing_and_boxes_without_area_match_nothing(tiny):
    network = tiny("ssd300")
    heads = heads_of(network, 1)
    boxes = [[(0, 0, 40, 40), (44, 44, 44, 47), (80, 80, 99, 99)]]
    truth = true_batch(labels_of(boxes, [[0, 1, 2]], crowd=[[1, 0, 0]]))
    targets = METHOD.targets(heads, truth, SIZE)
    assert not np.any(targets.positive)
    anchors = METHOD.anchors(heads, SIZE)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_array_equal(targets.counts[0], ~((centres > 0) & (centres < 40)).all(-1))
    assert np.isfinite(METHOD.loss(heads, targets, SIZE)["classes"]).all()


def test_one_image_is_learnt_by_heart():
    network = kerasdl.build("ssd300", **kerasdl.spec("ssd300").tiny)
    images, labels = two_squares()
    detector, losses = trained(network, images, labels, steps=60, rate=5e-3)
    assert losses[-1] < losses[0] / 5
    assert average_precision(detector, images, labels) == 1


def test_sides_that_no_stride_divides_and_images_that_are_no_squares():
    network = kerasdl.build("ssd300", **{**kerasdl.spec("ssd300").tiny, "image_shape": (61, 83, 3)})
    assert {name: each.shape[1:3] for name, each in network.output.items() if "boxes" in name} == {
        "boxes_stride4": (16, 21),
        "boxes_stride8": (8, 11),
        "boxes_stride16": (4, 6),
        "boxes_stride31": (2, 4),
    }
    anchors = METHOD.anchors(network.output, (61, 83))
    places = [16 * 21 * 4, 8 * 11 * 6, 4 * 6 * 6, 2 * 4 * 4]
    assert len(anchors) == sum(places)
    last = (anchors[-places[-1] :, :2] + anchors[-places[-1] :, 2:]) / 2
    np.testing.assert_allclose(np.unique(last[:, 0].round(3)), (np.arange(4) + 0.5) * 83 / 4, rtol=1e-4)
    np.testing.assert_allclose(np.unique(last[:, 1].round(3)), [15.5, 46.5], rtol=1e-4)  # two cells of 31 fill 61
    found = Detector(network).detect(np.zeros((1, 61, 83, 3), "float32"), min_score=0.0)
    assert len(found[0].boxes) == 100
    assert (found[0].boxes <= (83, 61, 83, 61)).all()


def test_ssd300_has_the_default_boxes_of_the_paper():
    with unallocated():
        network = kerasdl.build("ssd300")
    assert network.count_params() == 35_641_826
    anchors = METHOD.anchors(network.output, (300, 300))
    assert anchors.shape == (8732, 4)
    squares = anchors[[0, 38 * 38 * 4, -10 * 4, -4]]  # the first of the first, second, fifth and last level
    np.testing.assert_allclose(squares[:, 2] - squares[:, 0], [21, 45, 207, 261], rtol=1e-5)
    np.testing.assert_allclose(squares[:, 0] + squares[:, 2], [8, 16, 100, 300], rtol=1e-5)  # twice the first centre


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"image_shape": (None, None, 3)}, "known sides"),
        ({"image_shape": (96, 96, 3)}, "3x3 or more"),
        ({"boxes": (4, 6, 6, 6, 4)}, "6 levels"),
        ({"boxes": (4, 6, 6, 6, 4, 3)}, "even number"),
        ({"strides": (8,)}, "two maps"),
        ({"classes": 0}, "classes must"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, rule):
    with unallocated(), pytest.raises(ArgumentError, match=rule):
        ssd(**{"hidden": 8, **settings})


@pytest.mark.parametrize("channels", [4, 64])
def test_finest_level_is_as_large_at_any_width(channels):
    settings = {"pooled": False, "stages": (1, 1), "channels": (8, channels)}
    network = ssd((32, 32, 3), classes=2, backbone_settings=settings, strides=(1, 2), extras=(), boxes=(4, 4), hidden=8)
    inner = keras.Model(network.input, network.get_layer("stride1_scale").output)
    maps = inner(np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32"))
    size = np.sqrt(np.mean(np.square(maps), axis=-1))  # of a channel, at each place
    np.testing.assert_allclose(size, 20 / np.sqrt(512), rtol=1e-3)
