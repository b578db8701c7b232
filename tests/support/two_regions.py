"""One image of two regions and a background that a segmenter can learn by heart."""

import keras
import numpy as np


def two_regions(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image (1, height, width, 3) and its classes (1, height, width): 0, and 1 and 2 in two rectangles."""
    image = np.random.default_rng(0).uniform(-0.2, 0.2, (1, height, width, 3)).astype("float32")
    labels = np.zeros((1, height, width), "int32")
    labels[:, : height // 2, width // 8 : width // 2] = 1
    labels[:, height // 2 :, width // 2 : -1] = 2
    for number in (1, 2):
        image[labels == number] += np.eye(3, dtype="float32")[number]
    return image, labels


def loss_ratio(network: keras.Model, steps: int, rate: float) -> float:
    """Returns the loss after steps of Adam on one image over the loss before them."""
    image, labels = two_regions(*network.input_shape[1:3])
    network.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = network.fit(image, labels, epochs=steps, verbose=0).history["loss"]
    return losses[-1] / losses[0]
