"""Images with two bright squares and the map of their classes, and a small network that learns them in seconds."""

import keras
import numpy as np


def pointwise(classes=3, side=16, padding="same", auxiliary=False):
    """A network of two small convolutions."""
    image = keras.Input((side, side, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding=padding, activation="relu", name="conv")(image)
    logits = keras.layers.Conv2D(classes, 1, dtype="float32", name="logits")(x)
    if not auxiliary:
        return keras.Model(image, logits, name="pointwise")
    other = keras.layers.Conv2D(classes, 1, dtype="float32", name="auxiliary")(x)
    return keras.Model(image, {"logits": logits, "auxiliary": other}, name="pointwise")


def bright(count=8, side=16, seed=0):
    """Images with a red and a green square over noise, and the map of their classes."""
    rng = np.random.default_rng(seed)
    images, labels = rng.uniform(-1, -0.8, (count, side, side, 3)).astype("float32"), np.zeros((count, side, side), int)
    for k in range(count):
        for each in (1, 2):
            top, left = rng.integers(0, side - 5, 2)
            images[k, top : top + 5, left : left + 5] = np.eye(3)[each - 1] * 2 - 1
            labels[k, top : top + 5, left : left + 5] = each
    return images, labels.astype("uint8")
