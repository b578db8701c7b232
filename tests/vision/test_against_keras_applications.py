"""The same weights in keras.applications' net and in ours give the same logits."""

import keras
import numpy as np
import pytest
from filling import fill_weights

import kerasdl

APPLICATIONS = {
    "mobilenet_v2": lambda shape: keras.applications.MobileNetV2(
        shape, weights=None, classes=10, classifier_activation=None
    ),
    "mobilenet_v3_small": lambda shape: keras.applications.MobileNetV3Small(
        shape, weights=None, classes=10, classifier_activation=None, include_preprocessing=False
    ),
    "mobilenet_v3_large": lambda shape: keras.applications.MobileNetV3Large(
        shape, weights=None, classes=10, classifier_activation=None, include_preprocessing=False
    ),
    "resnet50_keras": lambda shape: keras.applications.ResNet50(
        weights=None, input_shape=shape, classes=10, classifier_activation=None
    ),
}


@pytest.mark.parametrize("name", sorted(APPLICATIONS))
def test_logits_agree(name):
    shape = (64, 64, 3)
    theirs = fill_weights(APPLICATIONS[name](shape))
    ours = kerasdl.build(name, image_shape=shape, classes=10)
    by_shape = match_by_order(theirs, ours)
    ours.set_weights(by_shape)
    images = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype("float32")
    expected = theirs(images, training=False).numpy()
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(
        ours(images, training=False), expected.reshape(2, 10), atol=1e-4 * max(1.0, np.abs(expected).max())
    )


def match_by_order(theirs, ours):
    """Pairs weights layer by layer in topological order; a dense layer of theirs may be a 1x1 convolution."""
    source = [layer for layer in sorted_by_graph(theirs) if getattr(layer, "weights", None)]
    target = [layer for layer in sorted_by_graph(ours) if getattr(layer, "weights", None)]
    assert len(source) == len(target)
    values = {}
    for one, other in zip(source, target, strict=True):
        for value, weight in zip(one.get_weights(), other.weights, strict=True):
            assert value.size == np.prod(weight.shape), f"{one.name} {value.shape} for {other.name} {weight.shape}"
            values[weight.path] = value.reshape(weight.shape)
    return [values[weight.path] for weight in ours.weights]


def sorted_by_graph(model):
    """Layers by what stands before them: main path first where two branches join, as both builders do."""
    order, seen = [], set()

    def visit(tensor):
        layer = tensor._keras_history.operation
        if layer.name in seen:
            return
        seen.add(layer.name)
        node = layer._inbound_nodes[tensor._keras_history.node_index]
        for before in sorted(node.input_tensors, key=lambda each: -depth(each)):
            visit(before)
        order.append(layer)

    def depth(tensor):
        layer = tensor._keras_history.operation
        if layer.name not in depths:
            node = layer._inbound_nodes[tensor._keras_history.node_index]
            depths[layer.name] = 1 + max((depth(before) for before in node.input_tensors), default=0)
        return depths[layer.name]

    depths: dict[str, int] = {}
    visit(model.outputs[0])
    return order
