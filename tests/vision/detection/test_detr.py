"""DETR: least-cost matches against all assignments, the loss of each decoder layer, boxes without suppression."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from squares_scene import squares
from test_dense_targets import truth_of
from test_detector import tiny
from two_squares import average_precision, trained

from kerasdl.data import as_dataset
from kerasdl.vision.detection.detr import DETRMethod
from kerasdl.vision.detection.method import true_batch

SIZE = (64, 96)
BOXES, CLASSES = [(3, 5, 30, 40), (50, 2, 90, 60)], [2, 0]


def heads_of(seed=0, queries=4, layers=("",)):
    generator = np.random.default_rng(seed)
    heads = {}
    for end in layers:
        heads[f"classes{end}"] = tf.constant(generator.normal(size=(1, queries, 4)), tf.float32)
        heads[f"boxes{end}"] = tf.constant(generator.uniform(0.1, 0.9, (1, queries, 4)), tf.float32)
    return heads


def giou(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.maximum(high - low, 0))
    union = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both
    hull = np.prod(np.maximum(one[2:], other[2:]) - np.minimum(one[:2], other[:2]))
    return both / union - (hull - union) / hull


def edges(box):
    return np.array([box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2])


def test_matches_have_the_least_cost_of_all_assignments():
    method = DETRMethod()
    for seed in range(5):
        heads = heads_of(seed)
        shares = tf.nn.softmax(heads["classes"][0]).numpy()
        given = heads["boxes"][0].numpy()
        true = np.array(
            [[(b[0] + b[2]) / 2 / 96, (b[1] + b[3]) / 2 / 64, (b[2] - b[0]) / 96, (b[3] - b[1]) / 64] for b in BOXES]
        )

        costs = [
            [
                5 * np.abs(box - other).sum() - share[kind] - 2 * giou(edges(box), edges(other))
                for other, kind in zip(true, CLASSES, strict=True)
            ]
            for box, share in zip(given, shares, strict=True)
        ]
        best = min(
            itertools.permutations(range(4), 2), key=lambda pair, costs=costs: costs[pair[0]][0] + costs[pair[1]][1]
        )
        found = method.targets(heads, truth_of(BOXES, CLASSES), SIZE)["last"]
        wanted = [CLASSES[best.index(query)] if query in best else 3 for query in range(4)]
        assert found.classes[0].numpy().tolist() == wanted
        for number, query in enumerate(best):
            np.testing.assert_allclose(found.boxes[0, query], true[number], atol=1e-6)
        assert found.positive[0].numpy().sum() == 2


def test_every_decoder_layer_is_matched_and_learns_by_itself():
    method, ends = DETRMethod(), ("", "_layer1")
    heads = heads_of(3, layers=ends)
    targets = method.targets(heads, truth_of(BOXES, CLASSES), SIZE)
    assert list(targets) == ["last", "_layer1"]
    both = method.loss(heads, targets, SIZE)
    alone = []
    for end in ends:
        single = {"classes": heads[f"classes{end}"], "boxes": heads[f"boxes{end}"]}
        alone.append(method.loss(single, method.targets(single, truth_of(BOXES, CLASSES), SIZE), SIZE))
    for name, value in both.items():
        np.testing.assert_allclose(value, alone[0][name] + alone[1][name], rtol=1e-5)


def test_loss_weighs_queries_without_an_object_by_a_tenth():
    heads = heads_of(1)
    method = DETRMethod()
    found = method.targets(heads, truth_of(BOXES, CLASSES), SIZE)["last"]
    entropy = -tf.nn.log_softmax(heads["classes"][0]).numpy()[np.arange(4), found.classes[0].numpy()]
    weights = np.where(found.positive[0] > 0, 1.0, 0.1)
    loss = method.loss(heads, {"last": found}, SIZE)
    np.testing.assert_allclose(loss["classes"][0], (entropy * weights).sum() / weights.sum(), rtol=1e-5)
    empty = truth_of(np.zeros((0, 4)), [])
    nothing = method.targets(heads, empty, SIZE)["last"]
    assert nothing.classes.numpy().tolist() == [[3, 3, 3, 3]]
    assert float(method.loss(heads, {"last": nothing}, SIZE)["boxes"][0]) == 0


def test_each_query_scores_for_its_likeliest_class_alone():
    boxes, scores = DETRMethod().decode(heads_of(2), SIZE)
    assert boxes.shape == (1, 4, 4)
    assert ((scores.numpy() > 0).sum(axis=-1) == 1).all()
    raw = heads_of(2)["boxes"].numpy()[0, 0]
    np.testing.assert_allclose(boxes[0, 0], edges(raw) * [96, 64, 96, 64], atol=1e-4)


def test_placed_values_add_the_positions_of_the_stated_temperature_to_the_tokens():
    net = tiny("detr", placed_values=True, temperature=20.0)
    parts = keras.Model(net.input, [net.get_layer(name).output for name in ("tokens", "tokens_placed")])
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    before, after = (each.numpy()[0].reshape(8, 8, 32) for each in parts(image))
    added = after - before
    for place, channel, wave in ((3, 0, 1.0), (7, 6, 20.0 ** (-6 / 16)), (5, 14, 20.0 ** (-14 / 16))):
        angle = (place + 1) / 8 * 2 * np.pi * wave
        np.testing.assert_allclose(added[place, 2, channel], np.sin(angle), atol=1e-5)  # of rows
        np.testing.assert_allclose(added[2, place, 16 + channel + 1], np.cos(angle), atol=1e-5)  # of columns
    assert "tokens_placed" not in {layer.name for layer in tiny("detr").layers}


@pytest.mark.slow
def test_two_squares_are_found_after_some_steps_on_them():
    images, labels = squares(2, seed=5)
    x, y = next(iter(as_dataset((images, labels)).batches(2)))
    detector, losses = trained(tiny("detr", dropout=0.0, decoder_layers=2, auxiliary=True), x, y, 150, 3e-3)
    assert losses[-1] < 0.3 * losses[0]
    assert average_precision(detector, images, y) > 0.9
    assert int(true_batch(y).valid.numpy().sum()) == sum(map(len, labels["boxes"]))
