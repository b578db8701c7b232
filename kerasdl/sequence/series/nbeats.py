"""N-BEATS: blocks that each explain a part of a window and of its future (https://arxiv.org/abs/1905.10437).

Deviations: one network rather than an ensemble of 180; each block has weights of its own, where the interpretable form
of the paper shares those of a stack; the time of a season's basis runs on from the window to the forecast. The last
block has no backcast, which nothing would read.
"""

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import FourierBasis, PolynomialBasis

from .heads import added_level, anchored, check_sizes

# Name of a stack, its blocks, its units; section 3.3 and table 18 of the paper (M4, monthly).
GENERIC = tuple((f"generic{number}", "generic", 1, 512) for number in range(1, 31))
INTERPRETABLE = (("trend", "trend", 3, 256), ("season", "season", 3, 2048))
KINDS = ("generic", "trend", "season")


@register(
    task="forecasting",
    paper="https://arxiv.org/abs/1905.10437",
    variants={"nbeats_generic": {"stacks": GENERIC}, "nbeats_interpretable": {"stacks": INTERPRETABLE}},
    params={"nbeats_generic": 25_813_700, "nbeats_interpretable": 39_046_736},
    reference="section 3.1 of the paper, summed in tests/sequence/series/test_forecasters.py",
    qat="full",
    tags=("perceptron",),
    tiny=dict(
        length=12,
        horizon=4,
        stacks=(("trend", "trend", 1, 16), ("season", "season", 1, 16), ("rest", "generic", 1, 16)),
    ),
)
def nbeats(
    length: int = 72,
    *,
    horizon: int = 18,
    stacks=GENERIC,
    depth: int = 4,
    coefficients: int = 32,
    degree: int = 2,
    anchor: str | None = None,
) -> keras.Model:
    """N-BEATS, a perceptron whose blocks subtract what they explain of a window, and add what follows from it.

    Source: https://arxiv.org/abs/1905.10437, sections 3.1 to 3.3 and figure 1.

    Args:
        length: steps of a window; the paper takes 2 to 7 horizons.
        horizon: steps to forecast.
        stacks: name, kind (`generic`, `trend` or `season`), blocks and units of each stack.
        depth: hidden layers of a block.
        coefficients: of the learned basis of a generic block.
        degree: of the polynomials of a trend.
        anchor: level that is taken out and added again, `last`, `mean` or None.

    Returns:
        A model from scaled windows (B, length, 1) to (B, horizon, 1) in float32. Outputs of the layers
        `trend_forecast` and `season_forecast` are the parts of an interpretable forecast.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> stacks = (("trend", "trend", 1, 32), ("season", "season", 1, 32))
        >>> kerasdl.build("nbeats_interpretable", length=36, horizon=12, stacks=stacks).output_shape
        (None, 12, 1)
    """
    check_sizes(checks.at_least("length", length, 2), horizon, 1, 1, anchor)
    checks.at_least("depth", depth, 1)
    checks.at_least("degree", degree, 0)
    window = keras.Input((length, 1), name="window")
    x, level = anchored(window, 1, anchor)
    x = layers.Reshape((length,), name="steps")(x)  # (B, T)
    forecasts = []
    for stack, kind, blocks, units in stacks:
        checks.one_of("kind of a stack", kind, KINDS)
        parts = []
        for block in range(1, blocks + 1):
            name = f"{stack}_block{block}"
            backcast, forecast = _block(x, horizon, kind, units, depth, coefficients, degree, name)
            x = layers.Subtract(name=f"{name}_rest")([x, backcast])
            parts.append(forecast)
        forecasts.append(layers.Add(name=f"{stack}_forecast")(parts) if blocks > 1 else parts[0])
    y = layers.Add(name="sum")(forecasts) if len(forecasts) > 1 else forecasts[0]
    if level is None:
        return keras.Model(window, layers.Reshape((horizon, 1), dtype="float32", name="forecast")(y), name="nbeats")
    y = layers.Reshape((horizon, 1), dtype="float32", name="forecast_steps")(y)
    return keras.Model(window, added_level(level, y, "forecast"), name="nbeats")


def season_coefficients(horizon: int) -> int:
    """Returns the number of coefficients of a season: a constant, and a cosine and a sine of each harmonic."""
    return 1 + 2 * max(1, horizon // 2 - 1)


def _block(x, horizon: int, kind: str, units: int, depth: int, coefficients: int, degree: int, name: str):
    """Returns backcast (B, T) and forecast (B, horizon) of a block.

    Source: section 3.1, equations 1 and 2.
    """
    length, h = x.shape[-1], x
    for number in range(1, depth + 1):
        h = layers.Dense(units, activation="relu", name=f"{name}_hidden{number}")(h)
    sizes = {"generic": coefficients, "trend": degree + 1, "season": season_coefficients(horizon)}
    sides = []
    for side, steps, start in (("backcast", length, -length), ("forecast", horizon, 0)):
        theta = layers.Dense(sizes[kind], use_bias=False, name=f"{name}_{side}_theta")(h)
        settings = {"name": f"{name}_{side}"}
        if kind == "trend":
            initializer = PolynomialBasis(span=steps, start=0)
            settings |= {"use_bias": False, "trainable": False, "kernel_initializer": initializer}
        elif kind == "season":
            initializer = FourierBasis(period=horizon, start=start)
            settings |= {"use_bias": False, "trainable": False, "kernel_initializer": initializer}
        sides.append(layers.Dense(steps, **settings)(theta))
    return sides
