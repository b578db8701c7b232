"""Ends of forecasting networks: levels taken out of a window and added again, heads of values and of distributions.

The name of the last layer tells what a network gives, so that a saved one is trained and read without further settings:
`forecast`, `gaussian`, or `quantiles_0.1_0.5_0.9`.
"""

from collections.abc import Sequence

import keras
from keras import layers

from kerasdl.core import checks
from kerasdl.losses.forecasts import check_levels

ANCHORS = ("last", "mean", None)
QUANTILES = "quantiles_"
Distribution = str | Sequence[float]


def check_sizes(
    length: int | None, horizon: int, channels: int, targets: int, anchor: str | None = None, future: int = 0
) -> None:
    """Checks the sizes that all builders take; raises `ArgumentError`.

    Args:
        length: steps of a window, or None for any.
        horizon: steps to forecast.
        channels: channels of a window.
        targets: number of the first channels that are forecast.
        anchor: level that is taken out of a window.
        future: covariates known in advance.
    """
    if length is not None:
        checks.at_least("length", length, 2)
    checks.at_least("horizon", horizon, 1)
    checks.at_least("channels", channels, 1)
    checks.at_least("future", future, 0)
    if checks.at_least("targets", targets, 1) > channels:
        checks.refuse(f"targets must be among the {channels} channels", targets)
    if checks.one_of("anchor", anchor, ANCHORS) == "last" and length is None:
        checks.refuse('anchor="last" needs a window of known length', length, 'Take anchor="mean".')


def anchored(x, targets: int, anchor: str | None):
    """Takes the level of each target out of a window, which a forecast gets back.

    Source: NLinear, https://arxiv.org/abs/2205.13504, section 4.1 (the last value).

    Args:
        x: (B, T, channels), targets first.
        targets: number of targets.
        anchor: `last`, the last value; `mean`, the mean over the window; None for none.

    Returns:
        (B, T, channels), and the levels (B, 1, targets) or None.
    """
    if anchor is None:
        return x, None
    length, channels = x.shape[1:]
    if anchor == "last":
        level = layers.Cropping1D((length - 1, 0), name="last_step")(x)  # (B, 1, channels)
    else:
        level = layers.GlobalAveragePooling1D(keepdims=True, name="mean_of_steps")(x)
    if targets == channels:
        return layers.Subtract(name="relative")([x, level]), level
    columns = layers.Permute((2, 1), name="level_columns")(level)  # (B, channels, 1)
    own = layers.Cropping1D((0, channels - targets), name="level_of_targets")(columns)
    padded = layers.ZeroPadding1D((0, channels - targets), name="level_padded")(own)
    taken = layers.Permute((2, 1), name="level_taken")(padded)  # (B, 1, channels), 0 of covariates
    level = layers.Permute((2, 1), name="level")(own)  # (B, 1, targets)
    return layers.Subtract(name="relative")([x, taken]), level


def forecast_head(
    x,
    horizon: int,
    targets: int,
    *,
    distribution: Distribution = "point",
    future=None,
    level=None,
    dropout: float = 0.0,
):
    """Head that gives all steps of a forecast at once, as values, quantiles or normal distributions.

    Covariates known in advance join each step through a perceptron.

    Args:
        x: (B, D), the state after the window.
        horizon: steps to forecast.
        targets: number of targets.
        distribution: `point`; `gaussian`; or rising levels of quantiles.
        future: (B, horizon, F) covariates known in advance, or None.
        level: (B, 1, targets), added to the forecast, or None.
        dropout: rate before the head, from 0 to 1.

    Returns:
        (B, horizon, targets) in float32; (B, horizon, targets, levels) of quantiles; (B, horizon, targets, 2) of normal
        distributions, mean and logarithm of the standard deviation.
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    x = layers.Dropout(dropout, name="head_drop")(x)
    if distribution == "point":
        steps = _steps(x, horizon, targets, future, "head")
        return _with_level(layers.Reshape((horizon, targets), name="head_steps")(steps), level, "forecast")
    if distribution == "gaussian":
        shape = (horizon, targets, 1)
        mean = layers.Reshape(shape, name="mean_steps")(_steps(x, horizon, targets, future, "mean"))
        mean = _with_level(mean, level, "mean_forecast")
        spread = layers.Reshape(shape, name="log_std_steps")(_steps(x, horizon, targets, future, "log_std"))
        return layers.Concatenate(dtype="float32", name="gaussian")([mean, spread])
    if isinstance(distribution, str):
        rule = "distribution must be 'point', 'gaussian' or rising levels of quantiles"
        checks.refuse(rule, distribution, "Pass (0.1, 0.5, 0.9) for three quantiles.")
    levels = check_levels(distribution)
    steps = _steps(x, horizon, targets * len(levels), future, "head")
    steps = layers.Reshape((horizon, targets, len(levels)), name="head_steps")(steps)
    return _with_level(steps, level, QUANTILES + "_".join(f"{each:g}" for each in levels))


def distribution_of(network: keras.Model) -> Distribution:
    """Returns what a network gives: `point`, `gaussian`, or the levels of its quantiles.

    Raises:
        ArgumentError: the network has several outputs, or their shape is not that of a forecast.
    """
    hint = "Networks of the task forecasting give (B, horizon, targets), or end in a layer named quantiles_0.1_0.5_0.9."
    if len(network.outputs) != 1:
        checks.refuse("a forecasting network must have one output", list(network.output_names), hint)
    name, rank = str(network.output_names[0]), len(network.outputs[0].shape)
    last = network.outputs[0].shape[-1]
    if rank == 4 and name == "gaussian" and last == 2:
        return "gaussian"
    if rank == 4 and name.startswith(QUANTILES):
        levels = tuple(map(float, name.removeprefix(QUANTILES).split("_")))
        if len(levels) == last:
            return check_levels(levels)
    if rank != 3:
        checks.refuse("the output of a forecasting network must be (B, horizon, targets)", f"{name}: {last}", hint)
    return "point"


def _steps(x, horizon: int, width: int, future, name: str):
    """Returns (B, horizon * width) from the state, or (B, horizon, width) with covariates of each step."""
    direct = layers.Dense(horizon * width, dtype="float32", name=name)(x)
    if future is None:
        return direct
    direct = layers.Reshape((horizon, width), name=f"{name}_direct")(direct)
    each = layers.RepeatVector(horizon, name=f"{name}_repeat")(x)  # (B, horizon, D)
    each = layers.Concatenate(name=f"{name}_with_future")([each, future])
    each = layers.Dense(x.shape[-1], activation="relu", name=f"{name}_future_hidden")(each)
    each = layers.Dense(width, dtype="float32", name=f"{name}_future")(each)
    return layers.Add(dtype="float32", name=f"{name}_sum")([direct, each])


def _with_level(steps, level, name: str):
    """Returns steps (B, horizon, targets) or (B, horizon, targets, P) with the level of each target, by that name."""
    if level is None:
        return layers.Identity(dtype="float32", name=name)(steps)
    if len(steps.shape) == 4:
        level = layers.Reshape((1, level.shape[-1], 1), name=f"{name}_level")(level)
    return added_level(level, steps, name)


def added_level(level, steps, name: str):
    """Returns (B, horizon, ...) with a level (B, 1, ...) added to each step, in float32.

    The level comes first: Keras 3.15 takes a second summand (B, 1, 1) for a bias of `horizon` entries where B is equal
    to the horizon, and would add the level of window i to step i.
    """
    return layers.Add(dtype="float32", name=name)([level, steps])
