"""Weights of keras.applications in our nets: from raw pixels to logits, both compute the same."""

import keras
import numpy as np
import pytest
from filling import fill_weights, settle_statistics

import kerasdl
from kerasdl.core import ArgumentError, UnknownNameError, WeightsError
from kerasdl.data import prepare_images
from kerasdl.weights import applications, importing
from kerasdl.weights.pairing import FRONT

APPLICATIONS = keras.applications
# Ours, theirs, the module with their preprocessing, and the side of an image.
FAMILIES = {
    "vgg16": ("VGG16", "vgg16", 32),
    "inception_v3": ("InceptionV3", "inception_v3", 75),
    "resnet50_keras": ("ResNet50", "resnet", 64),
    "mobilenet": ("MobileNet", "mobilenet", 64),
    "mobilenet_v2": ("MobileNetV2", "mobilenet_v2", 64),
    "mobilenet_v3_small": ("MobileNetV3Small", "mobilenet_v3", 64),
    "efficientnet_b0": ("EfficientNetB0", "efficientnet", 64),
    "convnext_tiny": ("ConvNeXtTiny", "convnext", 64),
}
OTHERS = {
    "xception": ("Xception", "xception", 71),
    "resnet50_v2": ("ResNet50V2", "resnet_v2", 64),
    "densenet121": ("DenseNet121", "densenet", 64),
    "efficientnet_v2_b0": ("EfficientNetV2B0", "efficientnet_v2", 64),
    "vgg19": ("VGG19", "vgg19", 32),
    "resnet101_keras": ("ResNet101", "resnet", 64),
    "densenet169": ("DenseNet169", "densenet", 64),
    "mobilenet_050": ("MobileNet(alpha=0.5)", "mobilenet", 64),
    "mobilenet_v2_035": ("MobileNetV2(alpha=0.35)", "mobilenet_v2", 64),
    "mobilenet_v2_140": ("MobileNetV2(alpha=1.4)", "mobilenet_v2", 64),
    "mobilenet_v3_large": ("MobileNetV3Large", "mobilenet_v3", 64),
    "efficientnet_b1": ("EfficientNetB1", "efficientnet", 64),
    "efficientnet_b4": ("EfficientNetB4", "efficientnet", 64),
    "efficientnet_v2_b3": ("EfficientNetV2B3", "efficientnet_v2", 64),
    "efficientnet_v2_s": ("EfficientNetV2S", "efficientnet_v2", 64),
}


@pytest.fixture(autouse=True)
def _single_precision_again():
    yield
    keras.config.set_floatx("float32")


def peer_of(theirs, side, **settings):
    name, _, rest = theirs.partition("(alpha=")
    settings |= {"alpha": float(rest.rstrip(")"))} if rest else {}
    given = dict(weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None)
    return getattr(APPLICATIONS, name)(**{**given, **settings})


def raw_pixels(side, count=8):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def randomised(peer, module="mobilenet_v2"):
    """Fills a peer, but leaves the layers that prepare pixels at figures such as they learn."""
    kept = [layer for layer in peer.layers if isinstance(layer, keras.layers.Normalization) and layer.weights]
    values = [[np.float32([0.5, 0.45, 0.4]), np.float32([0.05, 0.06, 0.04]), np.int64(0)] for _ in kept]
    for layer in kept:
        layer.trainable = False
    weights = {id(weight) for layer in kept for weight in layer.weights}
    fill_weights(type("Rest", (), {"weights": [each for each in peer.weights if id(each) not in weights]}))
    for layer, value in zip(kept, values, strict=True):
        layer.set_weights([each.reshape(tuple(w.shape)) for each, w in zip(value, layer.weights, strict=True)])
        layer.finalize_state()
    # Statistics that fit nothing would let the rounding of a pixel grow until it shows.
    return settle_statistics(peer, prepared(raw_pixels(peer.input_shape[1]), module))


def prepared(raw, module):
    return getattr(APPLICATIONS, module).preprocess_input(raw.astype("float32"))


QUICK = ("mobilenet_v2",)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_raw_pixels_give_the_same_logits(name, tmp_path):
    theirs, module, side = FAMILIES[name]
    peer = randomised(peer_of(theirs, side), module)
    pooled = {"pooled": side // 32} if name.startswith("vgg") else {}
    ours = kerasdl.build(name, image_shape=(side, side, 3), classes=10, **pooled)
    peer.save_weights(tmp_path / "peer.weights.h5")
    report = kerasdl.import_weights(ours, f"keras-applications:{theirs}", file=tmp_path / "peer.weights.h5")
    assert report.head
    assert report.difference <= 1e-4
    raw = raw_pixels(side, 2)
    expected = peer(prepared(raw, module), training=False).numpy().reshape(2, 10)
    given = ours(prepare_images(raw, (side, side, 3), **report.preprocess), training=False).numpy()
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_same_inputs_give_the_same_logits(name):
    """In float64, since random weights in so deep a net let every rounding of float32 grow until it shows."""
    theirs, module, side = OTHERS[name]
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")  # of inputs; the fixture sets both back
    peer = randomised(peer_of(theirs, side), module)
    pooled = {"pooled": side // 32} if name.startswith("vgg") else {}
    ours = kerasdl.build(name, image_shape=(side, side, 3), classes=10, **pooled)
    report = import_as(ours, peer, f"keras-applications:{theirs}")
    assert report.head
    assert report.difference <= 1e-6
    pixels = prepared(raw_pixels(side), module)
    for layer in (layer for layer in peer.layers if isinstance(layer, FRONT)):
        pixels = layer(pixels)
    pixels = np.asarray(pixels)[..., ::-1] if applications.reads_blue_first(theirs) else np.asarray(pixels)
    given = prepare_images(raw_pixels(side), (side, side, 3), **report.preprocess)
    np.testing.assert_allclose(given, pixels, atol=1e-4)


def import_as(ours, peer, source):
    """Imports a net as if keras.applications had just built it with these weights."""
    return importing._by_structure(
        ours, peer, source, applications.preprocess_of(source, peer), blue_first=applications.reads_blue_first(source)
    )


def test_another_number_of_classes_leaves_the_head_fresh():
    peer = randomised(peer_of("MobileNetV2", 64))
    ours = kerasdl.build("mobilenet_v2", image_shape=(64, 64, 3), classes=7)
    before = ours.get_layer("head").get_weights()
    report = kerasdl.import_weights(ours, peer)
    assert not report.head
    assert "fresh" in str(report)
    np.testing.assert_array_equal(ours.get_layer("head").get_weights()[0], before[0])
    np.testing.assert_array_equal(ours.get_layer("stem_conv").get_weights()[0], peer.layers[1].get_weights()[0])


def test_a_peer_without_its_top_fills_all_but_the_head():
    peer = randomised(peer_of("MobileNetV2", 64, include_top=False, pooling="avg"))
    report = kerasdl.import_weights(kerasdl.build("mobilenet_v2", image_shape=(64, 64, 3), classes=7), peer)
    assert not report.head
    assert report.numbers == peer.count_params()


def test_the_first_layer_that_differs_is_named_and_nothing_is_taken():
    peer = randomised(peer_of("MobileNetV2(alpha=0.5)", 64))
    ours = kerasdl.build("mobilenet_v2", image_shape=(64, 64, 3), classes=10)
    before = ours.get_weights()
    with pytest.raises(
        WeightsError, match=r"'stem_conv' with weights of the shapes \[\(3, 3, 3, 32\)\].*\(3, 3, 3, 16\)"
    ):
        kerasdl.import_weights(ours, peer)
    with pytest.raises(WeightsError, match="same structure"):
        kerasdl.import_weights(ours, kerasdl.build("mobilenet_v2", image_shape=(64, 64, 3), stages=((1, 16, 1, 1),)))
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def altered(**settings):
    """A small net, with one thing changed."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding=settings.get("padding", "same"), name="conv")(image)
    x = keras.layers.BatchNormalization(epsilon=settings.get("epsilon", 1e-3))(x)
    x = keras.layers.Activation(settings.get("act", "relu"))(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation=settings.get("end"), name="head")(x))


@pytest.mark.parametrize("change", [{"padding": "valid"}, {"epsilon": 0.5}, {"act": "silu"}])
def test_a_net_that_computes_something_else_is_refused(change):
    ours, peer = altered(), fill_weights(altered(**change))
    before = ours.get_weights()
    with pytest.raises(WeightsError, match="computes the same"):
        kerasdl.import_weights(ours, peer)
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    kerasdl.import_weights(ours, fill_weights(altered(end="softmax")))  # which changes no logit


def test_what_comes_before_a_fresh_head_is_compared():
    ours = kerasdl.blocks.replace_head(altered(), 7)
    with pytest.raises(WeightsError, match="computes the same"):
        kerasdl.import_weights(ours, fill_weights(altered(act="silu")))
    assert not kerasdl.import_weights(ours, fill_weights(altered())).head


def test_a_model_file_is_a_source(tmp_path):
    peer = randomised(peer_of("MobileNet", 64))
    peer.save(tmp_path / "peer.keras")
    ours = kerasdl.build("mobilenet", image_shape=(64, 64, 3), classes=10)
    kerasdl.import_weights(ours, tmp_path / "peer.keras")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(ours(x, training=False), peer(x, training=False).numpy().reshape(1, 10), atol=1e-4)


def test_what_is_no_source_is_refused(tmp_path):
    ours = kerasdl.build("mobilenet", image_shape=(64, 64, 3), classes=10)
    with pytest.raises(UnknownNameError, match="MobileNetV2"):
        kerasdl.import_weights(ours, "keras-applications:MobileNetV9", file=tmp_path / "x.h5")
    with pytest.raises(ArgumentError, match=r"NAME\(setting=value\)"):
        kerasdl.import_weights(ours, "keras-applications:MobileNet(print(1))", file=tmp_path / "x.h5")
    with pytest.raises(WeightsError, match="nothing is at"):
        kerasdl.import_weights(ours, "keras-applications:MobileNet", file=tmp_path / "x.h5")
    (tmp_path / "x.h5").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="must hold weights of MobileNet"):
        kerasdl.import_weights(ours, "keras-applications:MobileNet", file=tmp_path / "x.h5")
    with pytest.raises(ArgumentError, match="a source of weights must be"):
        kerasdl.import_weights(ours, "imagenet")
    with pytest.raises(ArgumentError, match="file= goes with"):
        kerasdl.import_weights(ours, "imagenet", file="x.h5")
