"""KerasHub's nets in ours, by structure: the backbone nested in a classifier is opened. Skipped where it is missing."""

import sys

import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.core import MissingPackageError, WeightsError

REASON = "keras_hub is needed to build the peer"


def resnet(hub, kind):
    return hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type=kind,
        use_pre_activation=False,
        image_shape=(32, 32, 3),
    )


def densenet(hub):
    return hub.models.DenseNetBackbone(stackwise_num_repeats=[2, 1], growth_rate=32, image_shape=(32, 32, 3))


PEERS = {
    "resnet18": (resnet, "basic_block", "ResNetImageClassifier", dict(stages=(1, 2))),
    "resnet50": (resnet, "bottleneck_block", "ResNetImageClassifier", dict(stages=(1, 2))),
}


@pytest.mark.parametrize("name", PEERS)
def test_logits_agree(name, tmp_path):
    hub = pytest.importorskip("keras_hub", reason=REASON)
    backbone, kind, task, arguments = PEERS[name]
    peer = fill_weights(getattr(hub.models, task)(backbone=backbone(hub, kind), num_classes=5))
    ours = kerasdl.build(name, image_shape=(32, 32, 3), classes=5, **arguments)
    assert kerasdl.import_weights(ours, peer).head
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    expected = peer(x, training=False).numpy()
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(ours(x, training=False), expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_a_net_of_the_same_structure_that_computes_something_else_is_refused():
    """KerasHub's DenseNet has all the shapes of ours, and other answers."""
    hub = pytest.importorskip("keras_hub", reason=REASON)
    peer = hub.models.DenseNetImageClassifier(backbone=densenet(hub), num_classes=5)
    ours = kerasdl.build("densenet121", image_shape=(32, 32, 3), classes=5, stages=(2, 1))
    before = ours.get_weights()
    with pytest.raises(WeightsError, match="computes the same"):
        kerasdl.import_weights(ours, fill_weights(peer))
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_preset_in_a_folder_is_a_source(tmp_path):
    hub = pytest.importorskip("keras_hub", reason=REASON)
    converter = hub.layers.ResNetImageConverter(
        image_size=(32, 32), scale=[0.017, 0.018, 0.019], offset=[-2.1, -2.0, -1.8]
    )
    peer = hub.models.ResNetImageClassifier(
        backbone=resnet(hub, "basic_block"),
        num_classes=5,
        preprocessor=hub.models.ResNetImageClassifierPreprocessor(image_converter=converter),
    )
    fill_weights(peer)
    peer.save_to_preset(tmp_path / "preset")
    ours = kerasdl.build("resnet18", image_shape=(32, 32, 3), classes=5, stages=(1, 2))
    report = kerasdl.import_weights(ours, f"keras-hub:{tmp_path / 'preset'}")
    low, high = report.preprocess["scale"]
    np.testing.assert_allclose(low, [-2.1, -2.0, -1.8])
    np.testing.assert_allclose(high, [255 * 0.017 - 2.1, 255 * 0.018 - 2.0, 255 * 0.019 - 1.8], rtol=1e-6)
    np.testing.assert_array_equal(ours.get_layer("head").get_weights()[0], peer.layers[-1].get_weights()[0])


def test_without_keras_hub_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(MissingPackageError, match=r"kerasdl\[peers\]"):
        kerasdl.import_weights(kerasdl.build("lenet5"), "keras-hub:resnet_18_imagenet")
