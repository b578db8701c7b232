"""Recurrent forecasters: an LSTM or GRU reads a window, one dense layer gives all steps (LSTM 1997, GRU 2014).

Deviations: all steps are forecast at once rather than one after the other; the level of the window is taken out and
added again, since a recurrent state saturates outside of the range that it has learnt.
"""

import keras
from keras import layers

from kerasdl.core import checks, register

from .heads import Distribution, anchored, check_sizes, forecast_head

CELLS = {"lstm": layers.LSTM, "gru": layers.GRU}


@register(
    task="forecasting",
    paper="https://doi.org/10.1162/neco.1997.9.8.1735",
    variants={"lstm_forecaster": {"cell": "lstm"}, "gru_forecaster": {"cell": "gru"}},
    params={"lstm_forecaster": 50_700, "gru_forecaster": 38_604},
    reference="the cells' equations, summed in tests/sequence/series/test_forecasters.py",
    qat="partial",
    tags=("recurrent",),
    free={"length": None},
    tiny=dict(length=8, horizon=3, channels=2, targets=1, units=12, depth=2, anchor="mean"),
)
def recurrent_forecaster(
    length: int | None = 36,
    *,
    horizon: int = 12,
    channels: int = 1,
    targets: int = 1,
    future: int = 0,
    cell: str = "lstm",
    units: int = 64,
    depth: int = 2,
    dropout: float = 0.0,
    anchor: str | None = "last",
    distribution: Distribution = "point",
) -> keras.Model:
    """Recurrent layers over a window of a time series, and a head that forecasts all steps from the last state.

    Source: https://doi.org/10.1162/neco.1997.9.8.1735 (LSTM); https://arxiv.org/abs/1406.1078, section 2.3 (GRU).

    Args:
        length: steps of a window, or None for any; exports to TFLite want it known.
        horizon: steps to forecast.
        channels: numbers of each step: targets first, then covariates.
        targets: number of the first channels that are forecast.
        future: covariates known in advance; with any, a second input is (B, horizon, future).
        cell: `lstm` or `gru`.
        units: of each recurrent layer.
        depth: recurrent layers.
        dropout: rate between the layers and before the head, from 0 to 1.
        anchor: level of the targets that the network does not see, and the forecast gets back: `last` value, `mean` of
            the window, or None.
        distribution: `point`, `gaussian`, or rising levels of quantiles.

    Returns:
        A model from scaled windows (B, length, channels), or a dict of `window` and `future`, to (B, horizon, targets)
        in float32; of a distribution as `forecast_head` says.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("gru_forecaster", length=48, horizon=24).output_shape
        (None, 24, 1)
    """
    make = CELLS[checks.one_of("cell", cell, CELLS)]
    check_sizes(length, horizon, channels, targets, anchor, future)
    checks.at_least("depth", depth, 1)
    window = keras.Input((length, channels), name="window")
    ahead = keras.Input((horizon, future), name="future") if future else None
    x, level = anchored(window, targets, anchor)
    for number in range(1, depth + 1):
        x = make(units, return_sequences=number < depth, name=f"{cell}{number}")(x)
        if number < depth:
            x = layers.Dropout(dropout, name=f"{cell}{number}_drop")(x)
    head = {"distribution": distribution, "future": ahead, "level": level, "dropout": dropout}
    outputs = forecast_head(x, horizon, targets, **head)
    inputs = {"window": window, "future": ahead} if future else window
    return keras.Model(inputs, outputs, name="recurrent_forecaster")
