"""DLinear and NLinear: one linear layer over the time of each channel (https://arxiv.org/abs/2205.13504).

Deviations: the moving average near the ends of a window is the mean of the steps that are there, where the paper
repeats the first and last ones.
"""

import keras
from keras import layers

from kerasdl.core import checks, register

from .heads import added_level, anchored, check_sizes


@register(
    task="forecasting",
    paper="https://arxiv.org/abs/2205.13504",
    variants={"dlinear": {}, "nlinear": {"kernel": None, "anchor": "last"}},
    params={"dlinear": 64_704, "nlinear": 32_352},
    reference="(length + 1) * horizon of each linear layer, in tests/sequence/series/test_forecasters.py",
    qat="full",
    tags=("linear",),
    tiny=dict(length=12, horizon=3, channels=3, targets=2),
)
def dlinear(
    length: int = 336,
    *,
    horizon: int = 96,
    channels: int = 1,
    targets: int = 1,
    kernel: int | None = 25,
    anchor: str | None = None,
) -> keras.Model:
    """Linear forecaster: a moving average and what remains of it have a linear layer each, shared by the channels.

    Source: https://arxiv.org/abs/2205.13504, section 4.1.

    Args:
        length: steps of a window.
        horizon: steps to forecast.
        channels: numbers of each step, targets first; a target is forecast from its own steps alone.
        targets: number of the first channels that are forecast.
        kernel: steps of the moving average; None has a single linear layer, as NLinear.
        anchor: level that is taken out and added again: `last` value (NLinear), `mean` of the window, or None.

    Returns:
        A model from scaled windows (B, length, channels) to (B, horizon, targets) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("dlinear", length=96, horizon=24).count_params()
        4656
    """
    check_sizes(checks.at_least("length", length, 2), horizon, channels, targets, anchor)
    window = keras.Input((length, channels), name="window")
    x = window
    if targets < channels:
        x = layers.Permute((2, 1), name="columns")(x)
        x = layers.Cropping1D((0, channels - targets), name="targets")(x)
        x = layers.Permute((2, 1), name="target_steps")(x)
    x, level = anchored(x, targets, anchor)  # (B, T, targets)
    parts = {"linear": x}
    if kernel is not None:
        checks.at_least("kernel", kernel, 2)
        trend = layers.AveragePooling1D(kernel, strides=1, padding="same", name="moving_average")(x)
        parts = {"trend": trend, "season": layers.Subtract(name="remainder")([x, trend])}
    sums = []
    for name, part in parts.items():
        part = layers.Permute((2, 1), name=f"{name}_columns")(part)  # (B, targets, T)
        sums.append(layers.Dense(horizon, name=name)(part))
    y = layers.Add(name="sum")(sums) if len(sums) > 1 else sums[0]
    if level is None:
        return keras.Model(window, layers.Permute((2, 1), dtype="float32", name="forecast")(y), name="dlinear")
    y = layers.Permute((2, 1), dtype="float32", name="steps")(y)
    return keras.Model(window, added_level(level, y, "forecast"), name="dlinear")
