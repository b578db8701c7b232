"""One image with two squares that a detector can learn by heart, and its training on it."""

import keras
import numpy as np
import tensorflow as tf

from kerasdl.vision.detection import Detector

BOXES, CLASSES = ((4, 5, 20, 22), (24, 22, 44, 43)), (2, 0)


def two_squares(height: int = 48, width: int = 48) -> tuple[np.ndarray, dict]:
    """Returns an image (1, height, width, 3) with two squares of two colours, and its labels."""
    image = np.random.default_rng(0).uniform(-0.2, 0.2, (1, height, width, 3)).astype("float32")
    for (left, top, right, bottom), number in zip(BOXES, CLASSES, strict=True):
        image[0, top:bottom, left:right] = -1
        image[0, top:bottom, left:right, number] = 1
    return image, labels_of([BOXES], [CLASSES])


def labels_of(boxes, classes, **more) -> dict:
    """Returns labels of a batch as ragged tensors, from a list of boxes and of classes of each image."""
    counts = [len(each) for each in boxes]
    flat = np.array([box for each in boxes for box in each], "float32").reshape(-1, 4)
    numbers = {"classes": np.array([each for row in classes for each in row], "int32")}
    numbers |= {name: np.array([each for row in rows for each in row], "int32") for name, rows in more.items()}
    ragged = {name: tf.RaggedTensor.from_row_lengths(each, counts) for name, each in numbers.items()}
    return {"boxes": tf.RaggedTensor.from_row_lengths(flat, counts), **ragged}


def trained(network: keras.Model, images: np.ndarray, labels: dict, steps: int, rate: float) -> tuple[Detector, list]:
    """Returns a detector after Adam's steps on one batch, and the losses."""
    detector, optimizer, losses = Detector(network), keras.optimizers.Adam(rate), []

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = detector.compute_loss(images, labels, network(images, training=True))
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, [each.value for each in variables]), variables)
        return loss

    optimizer.build(network.trainable_variables)
    detector.compute_loss(images, labels, network(images, training=False))  # makes its metrics outside of the graph
    for _ in range(steps):
        losses.append(float(step()))
    return detector, losses


def average_precision(detector: Detector, images: np.ndarray, labels: dict) -> float:
    """Returns the AP50 over labelled images."""
    lists = {name: [row.numpy() for row in rows] for name, rows in labels.items()}
    return round(float(detector.average_precision((images, lists), classes=3).result()["AP50"]), 6)
