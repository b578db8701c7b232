"""Perceptron for diffusion of points: residual dense layers that know the time (https://arxiv.org/abs/1503.03585).

Deviations: the paper's perceptron has a part of its weights for each time; here the time is added to each layer.
"""

import keras
from keras import layers

from kerasdl.core import checks, register

from .unet import time_vector


@register(
    task="network",
    paper="https://arxiv.org/abs/1503.03585",
    variants={"diffusion_mlp": {}},
    params={"diffusion_mlp": 219_522},
    reference="in * out + out of each dense layer, summed in tests/generative/diffusion/test_diffusion_networks.py",
    tags=("diffusion",),
    tiny=dict(features=3, width=16, depth=2, waves=8, classes=3),
)
def diffusion_mlp(
    features: int = 2, *, width: int = 128, depth: int = 4, waves: int = 32, classes: int | None = None
) -> keras.Model:
    """Perceptron for diffusion of points and other rows of numbers.

    Source: https://arxiv.org/abs/1503.03585, section 3.1.

    Args:
        features: numbers of a point.
        width: of the hidden layers.
        depth: number of residual blocks.
        waves: width of the sinusoids of the time.
        classes: K, number of classes that it is told, or None; label K stands for no class.

    Returns:
        A model from `{"x": (B, features), "time": (B,)}`, with classes also `"label": (B,)` integers, to
        (B, features) float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("diffusion_mlp", features=3).output_shape
        (None, 3)
    """
    for key, value in {"features": features, "width": width, "depth": depth}.items():
        checks.at_least(key, value, 1)
    inputs = {"x": keras.Input((features,), name="x"), "time": keras.Input((), name="time")}
    if classes is not None:
        checks.at_least("classes", classes, 1)
        inputs["label"] = keras.Input((), dtype="int32", name="label")
    vector = time_vector(inputs["time"], waves, label=inputs.get("label"), classes=classes)
    vector = layers.Activation("silu", name="time_act")(vector)
    x = layers.Dense(width, name="stem")(inputs["x"])
    for block in range(1, depth + 1):
        y = layers.Activation("silu", name=f"block{block}_act1")(x)
        y = layers.Add(name=f"block{block}_timed")(
            [
                layers.Dense(width, name=f"block{block}_dense1")(y),
                layers.Dense(width, name=f"block{block}_time")(vector),
            ]
        )
        y = layers.Activation("silu", name=f"block{block}_act2")(y)
        y = layers.Dense(width, name=f"block{block}_dense2")(y)
        x = layers.Add(name=f"block{block}_add")([x, y])
    x = layers.Activation("silu", name="out_act")(x)
    x = layers.Dense(features, kernel_initializer="zeros", dtype="float32", name="prediction")(x)
    return keras.Model(inputs, x, name="diffusion_mlp")
