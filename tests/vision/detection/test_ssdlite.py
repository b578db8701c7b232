"""SSDLite: its default boxes, its backbone's maps, coding, one image by heart."""

import numpy as np
import pytest
import tensorflow as tf
from two_squares import BOXES, average_precision, labels_of, trained, two_squares
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.vision.detection.method import strides_of, true_batch
from kerasdl.vision.detection.ssdlite import SSDliteMethod, ssdlite

METHOD = SSDliteMethod()


@pytest.fixture(scope="module")
def full():
    with unallocated():
        return kerasdl.build("ssdlite320")


def test_full_net_has_torchvisions_weights_and_default_boxes(full):
    assert sum(int(np.prod(each.shape)) for each in full.trainable_weights) == 3_440_060
    assert full.count_params() == 3_440_060 + 32_944
    anchors = METHOD.anchors(full.output, (320, 320))
    assert anchors.shape == (3234, 4)
    last = anchors[-6:]
    assert (last[:, :2] + last[:, 2:] == 320).all()  # twice the centre
    wide = 320 * min(1, 0.95 * 2**0.5)
    np.testing.assert_allclose(last[2, 2:] - last[2, :2], [wide, 304 / 2**0.5], rtol=1e-5)
    fourth = anchors[(400 + 100 + 25) * 6]
    np.testing.assert_allclose([fourth[0] + fourth[2], fourth[2] - fourth[0]], [320 / 3, 0.65 * 320], rtol=1e-5)


def test_maps_are_the_expansion_before_the_last_stride_and_the_last_convolution(full):
    assert full.get_layer("boxes_stride16_depthwise_conv").input.shape == (None, 20, 20, 672)
    assert full.get_layer("boxes_stride32_depthwise_conv").input.shape == (None, 10, 10, 480)
    assert full.get_layer("block13_depthwise_conv").input is full.get_layer("boxes_stride16_depthwise_conv").input


def test_layers_of_the_backbone_are_named_as_in_the_classifier(full):
    with unallocated():
        names = {layer.name for layer in kerasdl.build("mobilenet_v3_large").layers}
    own = {layer.name for layer in full.layers}
    assert {name for name in own if name.startswith(("stem", "block", "last"))} == {
        name for name in names if name.startswith(("stem", "block", "last"))
    }


def test_decoding_of_targets_gives_the_true_boxes_back():
    size = (48, 80)
    network = kerasdl.build("ssdlite320", **{**kerasdl.spec("ssdlite320").tiny, "image_shape": (*size, 3)})
    heads = {name: tf.zeros((1, *each.shape[1:])) for name, each in network.output.items()}
    truth = true_batch(labels_of([BOXES], [(2, 0)]))
    targets = METHOD.targets(heads, truth, size)
    start, coded = 0, dict(heads)
    for stride in strides_of(heads, "boxes"):
        shape = heads[f"boxes_stride{stride}"].shape
        coded[f"boxes_stride{stride}"] = tf.reshape(targets.offsets[:, start : start + np.prod(shape) // 4], shape)
        start += np.prod(shape) // 4
    boxes, scores = METHOD.decode(coded, size)
    assert scores.shape == (1, start, 3)
    positive = np.asarray(targets.positive[0]) > 0
    expected = [{3: BOXES[0], 1: BOXES[1]}[int(each)] for each in np.asarray(targets.classes[0])[positive]]
    assert len(expected) >= 2
    np.testing.assert_allclose(np.asarray(boxes[0])[positive], expected, atol=1e-3)


def test_one_image_is_learnt_by_heart():
    settings = {**kerasdl.spec("ssdlite320").tiny, "image_shape": (48, 48, 3)}
    network = kerasdl.build("ssdlite320", **settings)
    images, labels = two_squares()
    detector, losses = trained(network, images, labels, steps=60, rate=1e-2)
    assert losses[-1] < losses[0] / 5
    assert average_precision(detector, images, labels) == 1


@pytest.mark.parametrize(("settings", "rule"), [({"boxes": (6,) * 5}, "6 levels"), ({"extras": (1,) * 4}, "extras")])
def test_settings_that_do_not_fit_are_refused(settings, rule):
    with unallocated(), pytest.raises(ArgumentError, match=rule):
        ssdlite(**settings)
