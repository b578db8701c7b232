"""Nets of keras.applications as calm as trained ones, but for their random weights, and images for each.

A random net with batch norm is chaotic: differences grow by a fifth from layer to layer (Yang and others, A mean field
theory of batch normalization, 2019), rounding with them. Activations that are shifted to where they are nearly linear
calm it.
"""

import keras
import numpy as np
from filling import fill_weights, settle_statistics

from kerasdl.deploy.keras2.bridge import bridge

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
    images = _images(16, size)
    if name.startswith(SCALED_INSIDE):
        images = 127.5 * (images + 1)
    fill_weights(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center:
            layer.beta.assign_add(keras.ops.ones_like(layer.beta))
    return settle_statistics(model, images), images


def _images(count: int, size: int) -> np.ndarray:
    """Noise, as exports are tried on, and patches of colour: of noise alone a net makes the same of every image."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-1, 1, (count, size, size, 3))
    patches = rng.uniform(-1, 1, (count, 5, 5, 3)).repeat(-(-size // 5), 1).repeat(-(-size // 5), 2)[:, :size, :size]
    share = np.where(np.arange(count) % 2, 1.0, 0.2)[:, None, None, None]
    return (share * noise + (1 - share) * patches).astype("float32")


def bridge_gap(model: keras.Model, images: np.ndarray) -> tuple[float, int]:
    """Returns how far the net in tf_keras is off, over max(1, largest logit), and how many layers are wrapped."""
    made = bridge(model)
    expected = model(images, training=False).numpy()
    gap = np.abs(made.model(images, training=False).numpy() - expected).max() / max(1.0, np.abs(expected).max())
    return float(gap), list(made.routes.values()).count("wrapped")
