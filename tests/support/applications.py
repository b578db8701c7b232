"""Nets of keras.applications as a trained net would be, but for their random weights, and images for each."""

import keras
import numpy as np
from filling import fill_weights, settle_statistics

from kerasdl.deploy.legacy import bridge

BRIDGE, FILE = 1e-5, 1e-4  # bounds on the largest difference over max(1, largest output)
# The smallest net of every family, and then others; with the least size that it takes, or 64 where that is less.
NETS = {
    "ConvNeXtTiny": 64,
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "NASNetMobile": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "VGG16": 64,
    "Xception": 71,
    "ConvNeXtSmall": 64,
    "DenseNet169": 64,
    "EfficientNetB1": 64,
    "EfficientNetV2B1": 64,
    "MobileNetV3Large": 64,
    "ResNet101": 64,
    "ResNet101V2": 64,
    "VGG19": 64,
}
SCALED_INSIDE = ("ConvNeXt", "EfficientNet", "MobileNetV3")


def make(name: str) -> tuple[keras.Model, np.ndarray]:
    """Returns a net of 10 classes that gives logits, and 16 images in the range that it expects."""
    size = NETS[name]
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
    images = np.random.default_rng(0).uniform(-1, 1, (16, size, size, 3)).astype("float32")
    if name.startswith(SCALED_INSIDE):
        images = 127.5 * (images + 1)
    return settle_statistics(fill_weights(model), images), images


def bridge_gap(model: keras.Model, images: np.ndarray) -> tuple[float, int]:
    """Returns how far the net in tf_keras is off, over max(1, largest logit), and how many layers are carried."""
    made = bridge(model)
    expected = model(images, training=False).numpy()
    gap = np.abs(made.model(images, training=False).numpy() - expected).max() / max(1.0, np.abs(expected).max())
    return float(gap), list(made.routes.values()).count("carried")
