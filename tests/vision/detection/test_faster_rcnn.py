"""Faster R-CNN: targets against plain loops, samples, proposals, round trip, learning, and the joined network."""

import ast
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.vision.detection import FasterRCNN
from kerasdl.vision.detection.method import true_batch
from kerasdl.vision.detection.two_stage.faster_rcnn import FasterRCNNMethod
from kerasdl.vision.detection.two_stage.region_heads import VARIANCES, RegionMethod
from kerasdl.vision.detection.two_stage.region_proposals import ProposalMethod

SIZE = (48, 64)
FEW = FasterRCNNMethod(rpn=ProposalMethod(scale=5.0, samples=64, most=50, most_in_training=60), samples=32)

ALL = FasterRCNNMethod(rpn=ProposalMethod(scale=5.0, samples=5000), samples=5000, positive_share=1.0)
"""Method whose samples hold all anchors and proposals, so that no random number chooses."""


def networks(image_shape=(64, 64, 3), **settings):
    tiny = {**kerasdl.spec("faster_rcnn").tiny, "image_shape": image_shape}
    head = {**kerasdl.spec("faster_rcnn_box_head").tiny, "image_shape": image_shape, "proposals": None, **settings}
    return {
        "model": kerasdl.build("faster_rcnn", **tiny),
        "box_head": kerasdl.build("faster_rcnn_box_head", **head),
    }


def truth_of(*images):
    """Returns the record of images, each a list of (box, class, crowd)."""
    ragged = lambda values, kind: tf.ragged.constant(values, dtype=kind, ragged_rank=1)  # noqa: E731
    boxes = tf.RaggedTensor.from_row_lengths(
        np.array([box for image in images for box, _, _ in image], "float32").reshape(-1, 4), [len(i) for i in images]
    )
    classes = ragged([[each for _, each, _ in image] for image in images], "int32")
    crowd = ragged([[each for _, _, each in image] for image in images], "bool")
    return true_batch({"boxes": boxes, "classes": classes, "crowd": crowd})


SCENES = truth_of(
    [((4, 6, 28, 30), 1, False), ((30, 10, 62, 44), 0, False), ((5, 32, 9, 40), 2, False)],
    [],
    [((8, 8, 24, 24), 2, False), ((0, 0, 64, 48), 0, True), ((20, 20, 20, 20), 1, False)],
)


def overlap(one, other):
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    both = np.prod(np.maximum(sides, 0))
    area = np.prod(np.maximum(one[2:] - one[:2], 0)) + np.prod(np.maximum(other[2:] - other[:2], 0)) - both
    return both / area if area > 0 else 0.0


def coded(box, anchor, variances=(1, 1, 1, 1)):
    size, of = box[2:] - box[:2], anchor[2:] - anchor[:2]
    shift = ((box[:2] + box[2:]) / 2 - (anchor[:2] + anchor[2:]) / 2) / of
    return np.concatenate([shift, np.log(size / of)]) / variances


def rpn_heads(batch=3, strides=(4, 8), seed=0):
    rng, heads = np.random.default_rng(seed), {}
    for stride in strides:
        sides = (batch, -(-SIZE[0] // stride), -(-SIZE[1] // stride))
        heads[f"objectness_stride{stride}"] = tf.constant(rng.normal(size=(*sides, 3)), tf.float32)
        heads[f"offsets_stride{stride}"] = tf.constant(0.2 * rng.normal(size=(*sides, 12)), tf.float32)
    return heads


def objects(image):
    """Returns true boxes, their indices and the crowd regions of one image of the scenes."""
    boxes, valid, crowd = (np.asarray(each)[image] for each in (SCENES.boxes, SCENES.valid, SCENES.crowd))
    return boxes, np.flatnonzero(valid), boxes[crowd]


def in_crowd(box, regions):
    x, y = (box[:2] + box[2:]) / 2
    return any(left < x < right and top < y < bottom for left, top, right, bottom in regions)


def test_targets_of_anchors_are_those_of_plain_loops():
    heads, method = rpn_heads(), ProposalMethod(scale=5.0, positive=0.6)
    targets = method.targets(heads, SCENES, SIZE)
    anchors = np.concatenate(method.level_anchors(heads)).astype("float64")
    for image in range(3):
        boxes, real, regions = objects(image)
        table = np.array([[overlap(anchor, boxes[each]) for each in real] for anchor in anchors])
        table = table.reshape(len(anchors), len(real))
        for place, row in enumerate(table):
            best = row.max(initial=0)
            highest = any(row[j] == table[:, j].max() > 0 for j in range(len(real)))
            positive = highest or best >= 0.6
            counts = positive or (best < 0.3 and not in_crowd(anchors[place], regions))
            assert targets.positive[image, place] == positive
            assert targets.counts[image, place] == counts
            code = coded(boxes[real[row.argmax()]], anchors[place]) if positive else np.zeros(4)
            np.testing.assert_allclose(targets.offsets[image, place], code, atol=1e-5)
    assert np.sum(targets.positive, axis=1).tolist()[1] == 0
    assert np.sum(targets.positive) > 6


def test_targets_of_proposals_are_those_of_plain_loops():
    rng = np.random.default_rng(1)
    corners = np.sort(rng.uniform(0, 1, (3, 60, 2, 2)), axis=2).reshape(3, 60, 4) * (64, 48, 64, 48)
    proposals = np.concatenate([corners, SCENES.boxes + rng.uniform(-2, 2, SCENES.boxes.shape), np.zeros((3, 2, 4))], 1)
    proposals = proposals.astype("float32")
    heads = {"proposals": tf.constant(proposals), "classes": tf.zeros((3, proposals.shape[1], 4))}
    targets = RegionMethod().targets(heads, SCENES, SIZE)
    for image in range(3):
        boxes, real, regions = objects(image)
        for place, box in enumerate(proposals[image].astype("float64")):
            row = [overlap(box, boxes[each]) for each in real]
            best = max(row, default=0)
            has_area = (box[2:] > box[:2]).all()
            positive = has_area and best >= 0.5
            match = real[int(np.argmax(row))] if positive else None
            assert targets.positive[image, place] == positive
            assert targets.classes[image, place] == (int(SCENES.classes[image, match]) + 1 if positive else 0)
            assert targets.counts[image, place] == (positive or (has_area and not in_crowd(box, regions)))
            code = coded(boxes[match], box, VARIANCES) if positive else np.zeros(4)
            np.testing.assert_allclose(targets.offsets[image, place], code, atol=1e-4)
    assert np.sum(targets.positive) >= 3


def test_decoding_of_encoded_targets_gives_the_true_boxes():
    heads = rpn_heads()
    method = ProposalMethod(scale=5.0)
    targets = method.targets(heads, SCENES, SIZE)
    coded_heads, start = {}, 0
    for stride in (4, 8):
        shape = heads[f"objectness_stride{stride}"].shape
        end = start + int(np.prod(shape[1:]))
        coded_heads[f"offsets_stride{stride}"] = tf.reshape(targets.offsets[:, start:end], (*shape[:3], 12))
        logits = 20 * targets.positive[:, start:end] - 10
        coded_heads[f"objectness_stride{stride}"] = tf.reshape(logits, shape)
        start = end
    boxes, scores = method.decode(coded_heads, SIZE)
    true = np.asarray(SCENES.boxes)[0][:3]
    found = boxes.numpy()[0][scores.numpy()[0, :, 0] > 0.5]
    assert len(found) >= 3
    assert np.abs(found[:, None] - true).max(-1).min(1).max() < 1e-3
    proposals = method.proposals(coded_heads, SIZE).numpy()[0]
    assert np.abs(proposals[:3][:, None] - true).max(-1).min(0).max() < 1e-3  # suppression leaves each of them once

    proposals = tf.constant(true[None] + [[[2, -1, 1, 2]]], tf.float32)
    one = type(SCENES)(*(each[:1] for each in SCENES))
    own = {"proposals": proposals, "classes": tf.zeros((1, 3, 4))}
    regions = RegionMethod(positive=0.3).targets(own, one, SIZE)
    logits = tf.one_hot(regions.classes, 4) * 20.0
    offsets = tf.one_hot(regions.classes, 4)[..., None] * regions.offsets[:, :, None]
    decoded, scores = RegionMethod().decode(
        {"proposals": proposals, "classes": logits, "boxes": tf.reshape(offsets, (1, 3, 16))}, SIZE
    )
    classes = np.asarray(SCENES.classes)[0][:3]
    assert scores.numpy()[0].argmax(-1).tolist() == classes.tolist()
    np.testing.assert_allclose(decoded.numpy()[0, np.arange(3), classes], true, atol=1e-3)


def test_samples_hold_the_shares_of_the_paper_and_follow_the_noise():
    heads = rpn_heads()
    method = ProposalMethod(scale=5.0, positive=0.4, samples=20, positive_share=0.25)
    count = sum(map(len, method.level_anchors(heads)))
    noise = keras.random.uniform((3, count), seed=1)
    targets = method.targets(heads, SCENES, SIZE, noise)
    assert np.sum(targets.counts, 1).tolist() == [20, 20, 20]
    assert np.sum(targets.positive, 1).tolist()[:2] == [5, 0]
    again = method.targets(heads, SCENES, SIZE, keras.random.uniform((3, count), seed=1))
    other = method.targets(heads, SCENES, SIZE, keras.random.uniform((3, count), seed=2))
    np.testing.assert_array_equal(targets.counts, again.counts)
    assert np.any(targets.counts != other.counts)

    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 1, (3, 40, 2, 2)), axis=2).reshape(3, 40, 4) * (64, 48, 64, 48)
    regions = RegionMethod(samples=16)
    noise = keras.random.uniform((3, 40 + SCENES.boxes.shape[1]), seed=1)
    boxes = regions.sampled(tf.constant(corners, tf.float32), SCENES, noise)
    matches = regions.matches(boxes, SCENES).numpy()
    assert boxes.shape == (3, 16, 4)
    assert (matches >= 0).sum(1).tolist() == [4, 0, 1]  # of the third image the true box alone
    assert (matches[:2] == -2).sum() == 0
    np.testing.assert_array_equal(boxes[2][matches[2] >= 0], [(8, 8, 24, 24)])
    assert (matches[2] == -1).sum() == 0  # the whole image is a crowd region


def test_proposals_are_inside_the_image_large_and_apart():
    heads = rpn_heads(seed=3)
    method = ProposalMethod(scale=5.0, most=40)
    boxes = method.proposals(heads, SIZE).numpy()
    assert boxes.shape == (3, 40, 4)
    for image in boxes:
        real = image[image[:, 2] > image[:, 0]]
        assert (real >= 0).all()
        assert (real[:, [0, 2]] <= 64).all()
        assert (real[:, [1, 3]] <= 48).all()
    assert method.proposals(heads, SIZE, training=True).shape[1] == sum(map(len, method.level_anchors(heads)))
    single = ProposalMethod(scale=5.0, most=30)
    only = {name: each for name, each in heads.items() if name.endswith("4")}
    of_level = single.proposals(only, SIZE).numpy()[0]
    real = of_level[of_level[:, 2] > of_level[:, 0]]
    table = np.array([[overlap(a, b) for b in real] for a in real.astype("float64")])
    assert (table - np.eye(len(real))).max() <= 0.7 + 1e-5
    assert len(real) > 5


def test_losses_are_those_of_plain_sums():
    rng = np.random.default_rng(2)
    heads = {
        "proposals": tf.constant([[[4, 6, 28, 28], [40, 2, 60, 20], [0, 0, 0, 0]]], tf.float32),
        "classes": tf.constant(rng.normal(size=(1, 3, 4)), tf.float32),
        "boxes": tf.constant(rng.normal(size=(1, 3, 16)), tf.float32),
    }
    one = type(SCENES)(*(each[:1] for each in SCENES))
    targets = RegionMethod().targets(heads, one, SIZE)
    parts = RegionMethod().loss(heads, targets, SIZE)
    assert targets.classes.numpy().tolist() == [[2, 0, 0]]
    logits, offsets = heads["classes"].numpy()[0], heads["boxes"].numpy()[0].reshape(3, 4, 4)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(parts["classes"], [-(logs[0, 2] + logs[1, 0]) / 2], rtol=1e-5)
    gap = np.abs(offsets[0, 2] - targets.offsets.numpy()[0, 0])
    smooth = np.where(gap < 1 / 9, gap**2 * 9 / 2, gap - 1 / 18).sum() / 2
    np.testing.assert_allclose(parts["boxes"], [smooth], rtol=1e-5)


def test_both_networks_have_the_weights_of_torchvision():
    with unallocated():
        parts = [kerasdl.build(name).count_params() for name in ("faster_rcnn", "faster_rcnn_box_head")]
    assert sum(parts) == 41_755_286 + 106_240


def squares():
    image = np.full((1, 64, 64, 3), -0.8, "float32")
    boxes = np.array([(6, 8, 28, 30), (36, 26, 60, 50)], "float32")
    for (left, top, right, bottom), colour in zip(boxes.astype(int), ((1, -1, -1), (-1, -1, 1)), strict=True):
        image[0, top:bottom, left:right] = colour
    return image, {"boxes": [boxes], "classes": [np.array([0, 2], "int32")]}


@pytest.mark.slow
def test_it_learns_one_image_and_the_joined_network_gives_the_same_heads():
    keras.utils.set_random_seed(0)
    trainer = FasterRCNN(networks(), FEW)
    trainer.compile(keras.optimizers.Adam(5e-3))
    images, labels = squares()
    data = kerasdl.data.as_dataset((images, labels))
    batch = next(iter(data.batches(1)))
    losses = [float(trainer.train_on_batch(*batch, return_dict=True)["loss"]) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    for layer in trainer.main.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    trainer(images, training=True)  # the statistics of this image
    assert trainer.average_precision(data, classes=3).result()["AP50"] > 0.99
    joined = trainer.joined()
    assert not any(isinstance(layer, keras.Model) for layer in joined.layers)
    given, expected = joined(images, training=False), trainer.heads(tf.constant(images))
    for name in ("proposals", "classes", "boxes"):
        np.testing.assert_allclose(given[name], expected[name], atol=1e-4)


def test_odd_sides_and_images_without_objects_give_finite_losses():
    trainer = FasterRCNN(networks((None, None, 3)), FEW)
    trainer.compile("sgd")
    images = np.random.default_rng(0).uniform(-1, 1, (3, 45, 63, 3)).astype("float32")
    heads = trainer(images, training=True)
    parts = trainer.loss_parts(images, heads, SCENES, True)
    assert sorted(parts) == ["boxes", "classes", "objectness", "offsets"]
    assert all(part.shape == (3,) and np.isfinite(part).all() for part in parts.values())
    assert float(parts["offsets"][1]) == float(parts["boxes"][1]) == 0
    held = [trainer.loss_parts(images, heads, SCENES, False) for _ in range(2)]
    drawn = [trainer.loss_parts(images, heads, SCENES, True) for _ in range(2)]
    np.testing.assert_array_equal(held[0]["objectness"], held[1]["objectness"])
    assert np.any(drawn[0]["objectness"] != drawn[1]["objectness"])
    found = trainer.detect(images, min_score=0.0, max_boxes=5)
    assert [each.boxes.shape for each in found] == [(5, 4)] * 3


def test_networks_that_do_not_fit_are_refused_by_name():
    both = networks()
    with pytest.raises(ArgumentError, match="roles"):
        kerasdl.vision.detection.Detector(both["model"])
    with pytest.raises(ArgumentError, match="region_maps_stride16"):
        FasterRCNN({**both, "box_head": networks(strides=(4, 8, 16))["box_head"]})
    with pytest.raises(ArgumentError, match="known sides"):
        FasterRCNN(networks((None, None, 3))).joined()


def test_a_bundle_of_both_networks_predicts_and_is_saved(tmp_path):
    both = networks()
    settings = {"image_shape": (64, 64, 3), "scale": (-1, 1), "min_score": 0.0}
    bundle = kerasdl.Bundle.of(
        both, name="two", task="object_detection", preprocess=settings, labels=("disc", "square", "star")
    )
    photo = np.random.default_rng(0).integers(0, 255, (40, 80, 3)).astype("uint8")
    (result,) = kerasdl.load_bundle(bundle.save(tmp_path / "two")).predict([photo])
    (expected,) = bundle.predict([photo])
    np.testing.assert_allclose(result["boxes"], expected["boxes"], atol=1e-3)
    assert {*result["labels"]} <= {"disc", "square", "star"}
    assert len(result["labels"]) > 5
    short = kerasdl.Bundle.of(both, name="two", task="object_detection", preprocess=settings, labels=("disc",))
    with pytest.raises(ArgumentError, match="a label for each class"):
        short.predict([photo])


@pytest.mark.slow
@pytest.mark.parametrize("file", ["two.tflite", "two.onnx"])
def test_an_exported_bundle_finds_what_predict_finds(file, tmp_path):
    both, generator = networks(), np.random.default_rng(0)
    for network in both.values():  # scores that differ, and many above the threshold
        for weight in network.weights:
            if "kernel" in weight.path:
                weight.assign(generator.normal(size=weight.shape, scale=1.3 / np.sqrt(np.prod(weight.shape[:-1]))))
    settings = {"image_shape": (64, 64, 3), "scale": (-1, 1), "min_score": 0.06}
    labels = ("disc", "square", "star")
    bundle = kerasdl.Bundle.of(both, name="two", task="object_detection", preprocess=settings, labels=labels)
    raw = generator.integers(0, 256, (2, 64, 64, 3)).astype("uint8")
    assert bundle.export(tmp_path / file, raw_shape=(64, 64, 3)).worst_relative < 1e-3
    given = kerasdl.deploy.run_exported(tmp_path / file, raw.astype("float32"))
    for place, found in enumerate(bundle.predict(list(raw))):
        best = np.array(found["boxes"][:5])
        gaps = np.abs(given["boxes"][place][None, : given["count"][place]] - best[:, None]).max(axis=-1).min(axis=1)
        assert gaps.max() < 1.0, gaps


REPLICAS = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from squares_scene import squares
from test_faster_rcnn import ALL, networks
from kerasdl.train import RunConfig, fit
from kerasdl.vision.detection import FasterRCNN
start, data = networks(), squares(5, seed=1)
settings = dict(batch_size=5, progress="off", shuffle=False, epochs=1, optimizer="sgd", learning_rate=0.05)
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    both = networks()
    for role, network in both.items():
        network.set_weights(start[role].get_weights())
        for layer in network.layers:  # statistics of a part of a batch are others than those of the whole
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    history = fit(FasterRCNN(both, ALL), data, config=RunConfig(**settings, strategy=strategy)).history
    print({name: round(float(values[0]), 6) for name, values in history.items() if name.endswith("loss")})
    for role, network in both.items():
        changes = [new - old for new, old in zip(network.get_weights(), start[role].get_weights())]
        print([(float(each.sum()), float(np.abs(each).sum())) for each in changes])
"""


@pytest.mark.slow
def test_two_networks_learn_on_two_replicas_what_they_learn_on_one():
    paths = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    settings = dict(capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)
    result = subprocess.run([sys.executable, "-c", REPLICAS], **settings)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [ast.literal_eval(line) for line in result.stdout.splitlines() if line.startswith(("[", "{"))]
    alone, together = lines[:3], lines[3:]
    assert len(alone[0]) >= 5  # the loss and its four parts
    for name, value in alone[0].items():
        assert together[0][name] == pytest.approx(value, rel=1e-4), name
    for one, other in zip(alone[1:], together[1:], strict=True):
        sizes = np.array(one)[:, 1]
        assert (sizes > 1e-4).sum() >= 4  # both networks learn
        gaps = np.abs(np.array(one) - np.array(other)).max(axis=1)
        assert (gaps <= 1e-3 * sizes + 1e-6).all()
