"""Comparison of batch, layer, instance and group normalisation: `python docs/recipes/normalisations.py`."""

import keras
import numpy as np

import kerasdl
from kerasdl.layers import InstanceNormalization
from kerasdl.train import RunConfig, fit

NORMS = {
    "none": lambda: keras.layers.Activation("linear"),
    "batch": lambda: keras.layers.BatchNormalization(momentum=0.9),  # 0.99 would lag behind a run this short
    "layer": lambda: keras.layers.GroupNormalization(1),  # over height, width and channels, as in a convolutional net
    "instance": InstanceNormalization,
    "group": lambda: keras.layers.GroupNormalization(8),
}


def net(norm: str) -> keras.Model:
    """Returns six convolutions with a normalisation after each."""
    tensor = x = keras.Input((32, 32, 1))
    for width in (16, 32, 64):
        for stride in (1, 2):
            x = keras.layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
            x = keras.layers.ReLU()(NORMS[norm]()(x))
    return keras.Model(tensor, keras.layers.Dense(10, name="head")(keras.layers.GlobalAveragePooling2D()(x)))


def compare(norm: str) -> tuple[float, ...]:
    """Returns test accuracy after batches of 64, of 2, and after 64 on images of a quarter of the contrast."""
    train, test = (kerasdl.data.load("digits", split) for split in ("train", "test"))
    images, labels = test.arrays()
    faint = 0.25 * images - 0.5
    figures = []
    for batch_size, epochs, rate, inputs in ((64, 12, 3e-3, (images, faint)), (2, 2, 5e-4, (images,))):
        kerasdl.set_seed(0)
        model = net(norm)
        config = RunConfig(epochs=epochs, batch_size=batch_size, learning_rate=rate, schedule="cosine", progress="off")
        fit(model, train, config=config)
        answers = [model.predict(each, verbose=0).argmax(1) for each in inputs]
        figures += [float(np.mean(answer == labels)) for answer in answers]
    large, other, small = figures
    return large, small, other


if __name__ == "__main__":
    for norm in NORMS:
        print("| {} | {:.3f} | {:.3f} | {:.3f} |".format(norm, *compare(norm)), flush=True)
