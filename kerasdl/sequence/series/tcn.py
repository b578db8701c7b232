"""Temporal convolutional network: dilated causal convolutions with residuals (https://arxiv.org/abs/1803.01271).

Deviations: no weight normalisation; all steps are forecast at once from the last one; the level of the window is taken
out and added again.
"""

import keras
from keras import layers

from kerasdl.core import checks, register

from .heads import Distribution, anchored, check_sizes, forecast_head


def receptive_field(kernel: int, depth: int) -> int:
    """Returns the steps of a window that the last output of a TCN sees: 1 + 2 (kernel - 1) (2^depth - 1)."""
    return 1 + 2 * (kernel - 1) * (2**depth - 1)


def tcn_features(x, *, filters: int = 32, kernel: int = 3, depth: int = 4, dropout: float = 0.1, prefix: str = ""):
    """Residual blocks of two causal convolutions each, whose dilation doubles from block to block.

    Source: https://arxiv.org/abs/1803.01271, section 3 and figure 1.

    Args:
        x: (B, T, channels).
        filters: of each convolution.
        kernel: steps of a kernel.
        depth: blocks; the last step sees `receptive_field(kernel, depth)` steps.
        dropout: rate after each convolution, from 0 to 1.
        prefix: what every layer name begins with.

    Returns:
        (B, T, filters); no step sees a later one.
    """
    for block in range(1, depth + 1):
        name, y = f"{prefix}block{block}", x
        for number in (1, 2):
            y = layers.Conv1D(
                filters, kernel, padding="causal", dilation_rate=2 ** (block - 1), name=f"{name}_conv{number}"
            )(y)
            y = layers.ReLU(name=f"{name}_relu{number}")(y)
            y = layers.Dropout(dropout, name=f"{name}_drop{number}")(y)
        if x.shape[-1] != filters:
            x = layers.Conv1D(filters, 1, name=f"{name}_shortcut")(x)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    return x


@register(
    task="forecasting",
    paper="https://arxiv.org/abs/1803.01271",
    variants={"tcn_forecaster": {}},
    params={"tcn_forecaster": 22_316},
    reference="kernel * in * out + out of each convolution, summed in tests/sequence/series/test_forecasters.py",
    qat="full",
    tags=("cnn",),
    tiny=dict(length=16, horizon=3, channels=2, targets=1, filters=8, depth=2),
)
def tcn_forecaster(
    length: int = 61,
    *,
    horizon: int = 12,
    channels: int = 1,
    targets: int = 1,
    future: int = 0,
    filters: int = 32,
    kernel: int = 3,
    depth: int = 4,
    dropout: float = 0.1,
    anchor: str | None = "last",
    distribution: Distribution = "point",
) -> keras.Model:
    """Temporal convolutional network over a window of a time series, and a head that forecasts all steps.

    The forecast sees the last 1 + 2 (kernel - 1) (2^depth - 1) steps of a window: 61 by default.

    Source: https://arxiv.org/abs/1803.01271, section 3.

    Args:
        length: steps of a window.
        horizon: steps to forecast.
        channels: numbers of each step: targets first, then covariates.
        targets: number of the first channels that are forecast.
        future: covariates known in advance; with any, a second input is (B, horizon, future).
        filters: of each convolution.
        kernel: steps of a kernel, 2 or more.
        depth: blocks; the dilation of block b is 2^(b - 1).
        dropout: rate after each convolution, from 0 to 1.
        anchor: level of the targets that the network does not see, and the forecast gets back: `last` value, `mean` of
            the window, or None.
        distribution: `point`, `gaussian`, or rising levels of quantiles.

    Returns:
        A model from scaled windows (B, length, channels), or a dict of `window` and `future`, to (B, horizon, targets)
        in float32; of a distribution as `forecast_head` says.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("tcn_forecaster", length=104, horizon=26, depth=5).output_shape
        (None, 26, 1)
    """
    check_sizes(checks.at_least("length", length, 2), horizon, channels, targets, anchor, future)
    checks.at_least("kernel", kernel, 2)
    checks.at_least("depth", depth, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    window = keras.Input((length, channels), name="window")
    ahead = keras.Input((horizon, future), name="future") if future else None
    x, level = anchored(window, targets, anchor)
    x = tcn_features(x, filters=filters, kernel=kernel, depth=depth, dropout=dropout)  # (B, T, filters)
    x = layers.Cropping1D((length - 1, 0), name="last_features")(x)
    x = layers.Flatten(name="state")(x)
    outputs = forecast_head(x, horizon, targets, distribution=distribution, future=ahead, level=level)
    inputs = {"window": window, "future": ahead} if future else window
    return keras.Model(inputs, outputs, name="tcn_forecaster")
