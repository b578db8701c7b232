"""CenterNet: Gaussians, the focal loss with its reduced penalty, peaks, one image by heart."""

import numpy as np
import pytest
import tensorflow as tf
from two_squares import average_precision, labels_of, trained, two_squares

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.ops import aligned_overlaps
from kerasdl.vision.detection import Detector
from kerasdl.vision.detection.centernet import CenterMethod, corner_radius
from kerasdl.vision.detection.method import true_batch

METHOD = CenterMethod()
SIZE = (32, 48)  # maps of 8 x 12
BOXES = [(2, 3, 17, 28), (20, 6, 45, 21), (22, 8, 44, 20), (0, 0, 3, 3)]
CLASSES = [2, 0, 0, 1]


def heads_like(seed=None, batch=1, classes=3):
    rng = np.random.default_rng(seed)
    sizes = {"classes": classes, "offsets": 2, "sizes": 2}
    shapes = {f"{name}_stride4": (batch, 8, 12, width) for name, width in sizes.items()}
    scale = 0.0 if seed is None else 1.0
    return {name: tf.constant(scale * rng.normal(size=shape), "float32") for name, shape in shapes.items()}


def plain_heat(boxes, classes):
    heat = np.zeros((8, 12, 3))
    for (left, top, right, bottom), number in zip(boxes, classes, strict=True):
        x, y = int((left + right) / 8), int((top + bottom) / 8)
        radius = int(corner_radius([(right - left) / 4, (bottom - top) / 4], 0.3))
        for row in range(max(y - radius, 0), min(y + radius + 1, 8)):
            for column in range(max(x - radius, 0), min(x + radius + 1, 12)):
                value = np.exp(-((row - y) ** 2 + (column - x) ** 2) / 2 / ((2 * radius + 1) / 6) ** 2)
                heat[row, column, number] = max(heat[row, column, number], value)
    return heat


def test_targets_equal_a_loop():
    batch = true_batch(labels_of([BOXES, []], [CLASSES, []]))
    targets = METHOD.targets(heads_like(batch=2), batch, SIZE)
    heat = plain_heat(BOXES, CLASSES)
    assert (heat == 1).sum() == 3  # two objects of a class have one centre
    np.testing.assert_allclose(targets.heat[0], heat, atol=1e-6)
    np.testing.assert_array_equal(targets.heat[1], 0)
    np.testing.assert_array_equal(targets.counts, 1)
    np.testing.assert_array_equal(targets.positive[:, :4], [[1] * 4, [0] * 4])
    for number, (left, top, right, bottom) in enumerate(BOXES):
        x, y = (left + right) / 8, (top + bottom) / 8
        assert targets.places[0, number] == int(y) * 12 + int(x)
        np.testing.assert_allclose(targets.offsets[0, number], [x - int(x), y - int(y)], atol=1e-6)
        np.testing.assert_allclose(targets.sizes[0, number], [(right - left) / 4, (bottom - top) / 4], atol=1e-6)


@pytest.mark.parametrize("sizes", [(8.0, 8.0), (30.0, 5.0), (3.0, 40.0)])
@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_radius_is_the_largest_that_keeps_the_overlap(sizes, overlap):
    width, height = sizes
    r = float(corner_radius(sizes, overlap))
    box = np.array([0, 0, width, height], "float32")
    moves = np.array([(r, r, -r, -r), (-r, -r, r, r), (r, r, r, r)], "float32")
    found = np.asarray(aligned_overlaps(box + moves, np.tile(box, (3, 1))))
    np.testing.assert_allclose(found.min(), overlap, rtol=1e-4)


def test_loss_equals_the_papers_equations():
    targets = METHOD.targets(heads_like(), true_batch(labels_of([BOXES[:2]], [CLASSES[:2]])), SIZE)
    heads = heads_like(seed=0)
    parts = METHOD.loss(heads, targets, SIZE)
    heat = plain_heat(BOXES[:2], CLASSES[:2])
    scores = 1 / (1 + np.exp(-heads["classes_stride4"][0].numpy()))
    focal = np.where(heat == 1, (1 - scores) ** 2 * np.log(scores), (1 - heat) ** 4 * scores**2 * np.log(1 - scores))
    np.testing.assert_allclose(parts["classes"], [-focal.sum() / 2], rtol=1e-5)
    places = [(3, 2), (3, 8)]
    for name, true, weight in (("offsets", targets.offsets, 1.0), ("sizes", targets.sizes, 0.1)):
        at = np.array([heads[f"{name}_stride4"][0, row, column] for row, column in places])
        np.testing.assert_allclose(parts[name], [weight * np.abs(at - true[0, :2]).sum() / 2], rtol=1e-5)


def test_decoding_of_targets_gives_the_true_boxes_back():
    boxes, classes = BOXES[:2], CLASSES[:2]
    targets = METHOD.targets(heads_like(), true_batch(labels_of([boxes], [classes])), SIZE)
    heads = {name: each.numpy() for name, each in heads_like().items()}
    heat = np.clip(targets.heat.numpy(), 1e-4, 1 - 1e-4)
    heads["classes_stride4"] = np.log(heat / (1 - heat))
    for number in range(2):
        row, column = divmod(int(targets.places[0, number]), 12)
        heads["offsets_stride4"][0, row, column] = targets.offsets[0, number]
        heads["sizes_stride4"][0, row, column] = targets.sizes[0, number]
    found, scores = METHOD.decode({name: tf.constant(each) for name, each in heads.items()}, SIZE)
    likely = np.argwhere(scores[0].numpy() > 0.5)  # the Gaussian around a peak is none
    assert sorted(likely[:, 1].tolist()) == [0, 2]
    for place, number in likely:
        np.testing.assert_allclose(found[0, place], boxes[classes.index(number)], atol=1e-3)


def test_crowds_teach_no_background_and_odd_boxes_match_nothing():
    boxes = [(0, 0, 20, 32), (30, 4, 30, 9), (60, 2, 90, 9)]  # a crowd, one of no width, one outside
    truth = true_batch(labels_of([boxes], [[0, 1, 2]], crowd=[[1, 0, 0]]))
    targets = METHOD.targets(heads_like(), truth, SIZE)
    assert not np.any(targets.positive)
    assert not np.any(targets.heat)
    np.testing.assert_array_equal(targets.counts[0, ..., 0], np.tile([0.0] * 5 + [1.0] * 7, (8, 1)))
    assert all(np.isfinite(each).all() for each in METHOD.loss(heads_like(seed=0), targets, SIZE).values())


def test_one_image_is_learnt_by_heart():
    network = kerasdl.build("centernet", **{**kerasdl.spec("centernet").tiny, "image_shape": (48, 48, 3)})
    images, labels = two_squares()
    detector, losses = trained(network, images, labels, steps=60, rate=1e-2)
    assert losses[-1] < losses[0] / 5
    assert average_precision(detector, images, labels) == 1


def test_sides_that_no_stride_divides():
    network = kerasdl.build("centernet", **{**kerasdl.spec("centernet").tiny, "image_shape": (None, None, 3)})
    image = np.zeros((1, 45, 83, 3), "float32")
    heads = network(image)
    assert heads["classes_stride4"].shape == (1, 12, 24, 3)  # 3 x 6 places of stride 16, doubled twice
    found = Detector(network).detect(image, min_score=0.0)[0]
    assert (found.boxes <= (83, 45, 83, 45)).all()


def test_skips_add_the_finer_maps_of_the_backbone():
    arguments = kerasdl.spec("centernet").tiny
    plain, net = kerasdl.build("centernet", **arguments), kerasdl.build("centernet", **arguments, skips=True)
    new = {layer.name: layer for layer in net.layers if layer.name.startswith("skip_stride") and layer.weights}
    assert {name[:12] for name in new} == {"skip_stride4", "skip_stride8"}
    for layer in net.layers:
        if layer.weights and layer.name not in new:
            layer.set_weights(plain.get_layer(layer.name).get_weights())
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    wanted, found = plain(image), net(image)
    assert np.abs(found["classes_stride4"] - wanted["classes_stride4"]).max() > 1e-3
    for name, layer in new.items():
        if name.endswith("_bn"):
            layer.gamma.assign(layer.gamma * 0)  # nothing is added then
    for name, value in net(image).items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-6)
    with pytest.raises(ArgumentError, match="multiples of 16"):
        kerasdl.build("centernet", **{**arguments, "image_shape": (56, 64, 3)}, skips=True)
