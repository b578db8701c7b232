"""Receptive field and cost of kinds of convolution: `python docs/recipes/convolutions.py`."""

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.blocks import depthwise_separable
from kerasdl.deploy import profile_model

SIDE, WIDTH = 33, 64
ONES = {"kernel_initializer": "ones", "use_bias": False}
SEEN = {
    "3 of 3 x 3": (1, 1, 1),
    "dilated by 1, 2, 4": (1, 2, 4),
    "dilated by 2, 2, 2:\nholes": (2, 2, 2),
}
GROWN = {
    "transposed, kernel 3:\ncheckerboard": [keras.layers.Conv2DTranspose(1, 3, 2, "valid", **ONES)],
    "transposed, kernel 4": [keras.layers.Conv2DTranspose(1, 4, 2, "valid", **ONES)],
    "resized, then 3 x 3": [keras.layers.UpSampling2D(2), keras.layers.Conv2D(1, 3, **ONES)],
}


def seen(dilations: tuple[int, ...]) -> np.ndarray:
    """Returns the number of paths from each pixel to the middle of the output, (SIDE, SIDE)."""
    image = tf.Variable(tf.zeros((1, SIDE, SIDE, 1)))
    with tf.GradientTape() as tape:
        x = image
        for dilation in dilations:
            x = keras.layers.Conv2D(1, 3, padding="same", dilation_rate=dilation, **ONES)(x)
        middle = x[0, SIDE // 2, SIDE // 2, 0]
    return tape.gradient(middle, image)[0, :, :, 0].numpy()


def grown(layers: list) -> np.ndarray:
    """Returns a uniform image after a transposed convolution, without its border."""
    x = tf.ones((1, 12, 12, 1))
    for layer in layers:
        x = layer(x)
    return x[0, 4:-4, 4:-4, 0].numpy()


def costs() -> dict[str, tuple[int, int]]:
    """Returns weights and multiply-accumulates of each kind from 64 to 64 channels on 32 x 32 pixels."""
    kinds = {
        "3 x 3": lambda x: keras.layers.Conv2D(WIDTH, 3, padding="same")(x),
        "3 x 3, dilated": lambda x: keras.layers.Conv2D(WIDTH, 3, padding="same", dilation_rate=2)(x),
        "3 x 3 in 8 groups": lambda x: keras.layers.Conv2D(WIDTH, 3, padding="same", groups=8)(x),
        "3 x 3 depthwise, 1 x 1": lambda x: depthwise_separable(x, WIDTH, name="separable"),
        "transposed 4 x 4, stride 2": lambda x: keras.layers.Conv2DTranspose(WIDTH, 4, 2, "same")(x),
    }
    found = {}
    for name, kind in kinds.items():
        tensor = keras.Input((32, 32, WIDTH))
        model = keras.Model(tensor, kind(tensor))
        found[name] = model.count_params(), profile_model(model).macs
    return found


def main(picture: str = "docs/pictures/convolutions.png") -> dict[str, tuple[int, int]]:
    """Draws both pictures; prints and returns the cost of each kind."""
    maps = {**{name: seen(dilations) for name, dilations in SEEN.items()}, **{n: grown(g) for n, g in GROWN.items()}}
    figure = Figure(figsize=(12, 2.7), dpi=110, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    for axes, (name, values) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        axes.imshow(values, cmap="Blues", vmin=0)
        axes.set_title(name, fontsize=9)
        axes.set(xticks=[], yticks=[])
    figure.savefig(picture)
    found = costs()
    for name, (weights, macs) in found.items():
        print(f"| {name} | {weights:,} | {macs / 1e6:.1f} M |")
    return found


if __name__ == "__main__":
    main()
