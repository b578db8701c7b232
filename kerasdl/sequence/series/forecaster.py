"""Forecaster: trainer of a forecasting network, raw windows in and raw forecasts out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.stats import norm

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data.series import SeriesScaling
from kerasdl.data.series.scaling import with_gaps
from kerasdl.losses import GaussianNLL, Pinball
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses

from .heads import distribution_of


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts of some windows, in the unit of the series.

    Example:
        >>> Forecasts(np.ones((1, 2, 1)), {}, np.ones((1, 2, 1))).interval(0.8)[1][0, 0, 0].round(2)
        np.float64(2.28)
    """

    values: np.ndarray
    """(N, horizon, targets): values, means of normal distributions, or the quantiles nearest to the median, of two
    that are as near their mean."""
    quantiles: Mapping[float, np.ndarray]
    """(N, horizon, targets) of each level; empty for other networks."""
    std: np.ndarray | None = None
    """(N, horizon, targets), standard deviations of normal distributions."""

    def interval(self, share: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
        """Returns lower and upper bounds (N, horizon, targets) between which that share of values is expected.

        Raises:
            ArgumentError: the network gives no distribution, or not the two quantiles of that share.
        """
        low = (1 - checks.within("share", share, 0.01, 0.999)) / 2
        if self.std is not None:
            reach = norm.ppf(1 - low) * self.std
            return self.values - reach, self.values + reach
        bounds = [[level for level in self.quantiles if abs(level - side) < 1e-6] for side in (low, 1 - low)]
        if not all(bounds):
            rule = f"an interval of {share} needs the quantiles {low:g} and {1 - low:g}"
            checks.refuse(rule, sorted(self.quantiles), "Build the network with distribution=(0.1, 0.5, 0.9).")
        return self.quantiles[bounds[0][0]], self.quantiles[bounds[1][0]]


class Forecaster(Trainer):
    """Trainer of a forecasting network.

    It learns from scaled windows, as `kerasdl.data.series.window_series` makes them, by the loss that fits its head:
    mean absolute error, `Pinball` of its quantiles, or `GaussianNLL`. `forecast` takes windows in the unit of the
    series.

    Args:
        network: functional model from windows (B, T, channels), or a dict of `window` and `future`, to a forecast, such
            as `kerasdl.build("tcn_forecaster")`.
        scaling: mean and standard deviation of the channels, from `window_series`; None takes that of the data that
            `fit` trains on, and windows as they are for a network that was trained on raw ones.
        loss: loss of labels (B, horizon, targets) and outputs; None takes that of the head.

    Raises:
        ArgumentError: the network has another form.

    Example:
        >>> data = kerasdl.data.series.window_series(kerasdl.data.series.load_series("sunspots"), 33, 11)
        >>> network = kerasdl.build("dlinear", length=33, horizon=11, kernel=11)
        >>> forecaster = Forecaster(network, scaling=data.scaling)
        >>> forecaster.forecast(np.full((1, 33, 1), 50.0)).values.shape
        (1, 11, 1)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        *,
        scaling: SeriesScaling | None = None,
        loss: keras.losses.Loss | None = None,
    ):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        self.distribution = distribution_of(self.main)
        self.horizon, self.targets = self.main.outputs[0].shape[1:3]
        self.window_shape = tuple(_window_input(self.main).shape[1:])
        self.scaling, self.lacks_scaling = scaling, False
        if scaling is not None and (len(scaling.mean), scaling.targets) != (self.window_shape[-1], self.targets):
            rule = f"the scaling must be of {self.window_shape[-1]} channels and {self.targets} targets"
            checks.refuse(rule, (len(scaling.mean), scaling.targets))
        if loss is None:
            kinds = {"point": keras.losses.MeanAbsoluteError, "gaussian": GaussianNLL}
            quantiles = self.distribution
            loss = kinds[quantiles]() if isinstance(quantiles, str) else Pinball(quantiles)
        self.forecast_loss = loss
        self.error = keras.metrics.MeanAbsoluteError(name="mae")

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, self.error)}.values())

    def identity(self) -> dict[str, Any]:
        loss = {"class": type(self.forecast_loss).__name__, **self.forecast_loss.get_config(), "dtype": None}
        return {**super().identity(), "loss": loss}

    def check_data(self, data):
        if self.scaling is not None or not data.feature_mean:
            return
        if len(self.main.inputs) > 1:
            self.lacks_scaling = True  # the data do not say which channels are known in advance
            return
        self.scaling = SeriesScaling(data.feature_mean, data.feature_std, self.targets)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels = tuple(y.shape[1:])
        if labels != (self.horizon, self.targets):
            checks.refuse(f"labels of a forecast must be (B, {self.horizon}, {self.targets})", (None, *labels))
        return self.forecast_loss(y, y_pred, self._weights_of_steps(sample_weight)) + own_losses(self)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.error.update_state(y, central(y_pred, self.distribution), self._weights_of_steps(sample_weight))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _weights_of_steps(self, weights: Any) -> Any:
        """Returns weights (B, horizon); in Keras those of windows (B,) would meet steps where B is the horizon."""
        if weights is None:
            return None
        shape = tuple(weights.shape)
        if shape[1:] not in ((), (1,), (self.horizon,)):
            checks.refuse(f"weights of a forecast must be (B,) or (B, {self.horizon})", shape)
        weights = ops.convert_to_tensor(weights)
        return weights if shape[1:] == (self.horizon,) else ops.repeat(ops.reshape(weights, (-1, 1)), self.horizon, 1)

    def forecast(
        self, windows: Any, future: Any = None, *, horizon: int | None = None, batch_size: int = 256
    ) -> Forecasts:
        """Forecasts what follows windows.

        A horizon beyond that of the network is forecast recursively: forecasts are put behind the window, which moves
        on. Quantiles and standard deviations of such steps would be those of a window without doubt; they are left out.

        Args:
            windows: (N, T, channels) in the unit of the series; NaN takes the last value before it.
            future: (N, horizon, F) covariates known in advance, for a network that takes them.
            horizon: steps to forecast; None takes those of the network.
            batch_size: windows computed at once.

        Returns:
            The forecasts, in the unit of the series.

        Raises:
            ArgumentError: windows do not fit the network, its scaling is not known, or a horizon beyond its own needs
                covariates that nobody knows.
            DataError: an input or a forecast is not finite, or a window has no value in a channel.
        """
        if self.lacks_scaling:
            hint = "Pass Forecaster(network, scaling=windows.scaling)."
            checks.refuse(
                "to forecast, a network of covariates in advance must have the scaling of its data", None, hint
            )
        asked = self.horizon if horizon is None else checks.at_least("horizon", horizon, 1)
        windows = with_gaps(windows)
        self._check_windows(windows, future)
        found = self._direct(windows, future, batch_size)
        if asked <= self.horizon:
            parts = (found.values, *found.quantiles.values(), *(() if found.std is None else (found.std,)))
            values, *rest = (each[:, :asked] for each in parts)
            std = None if found.std is None else rest[-1]
            return Forecasts(values, dict(zip(found.quantiles, rest, strict=False)), std)
        if self.window_shape[-1] != self.targets or future is not None:
            hint = "Build a network of that horizon, which forecasts all steps directly."
            rule = f"a horizon beyond {self.horizon} needs a network without covariates"
            checks.refuse(rule, f"{asked} of {self.window_shape[-1]} channels", hint)
        steps = [found.values]
        for _ in range(1, -(-asked // self.horizon)):
            windows = np.concatenate([windows, steps[-1]], axis=1)[:, -windows.shape[1] :]
            steps.append(self._direct(windows, None, batch_size).values)
        return Forecasts(np.concatenate(steps, axis=1)[:, :asked], {})

    def _check_windows(self, windows: np.ndarray, future: Any) -> None:
        shape = self.window_shape
        fits = windows.ndim == 3 and windows.shape[2] == shape[1] and shape[0] in (None, windows.shape[1])
        if not fits:
            checks.refuse(f"windows must have the shape (N, {shape[0] or 'T'}, {shape[1]})", windows.shape)
        if np.isinf(windows).any():
            raise DataError("windows must be finite, or NaN where a value is missing; got infinity.")
        if (future is not None) != (len(self.main.inputs) > 1):
            rule = "future must be passed if, and only if, the network takes covariates known in advance"
            checks.refuse(rule, f"{len(self.main.inputs)} inputs")
        if future is not None:
            width = next(tensor.shape[-1] for tensor in self.main.inputs if tensor.name == "future")
            if np.shape(future) != (len(windows), self.horizon, width):
                rule = f"future must have the shape {(len(windows), self.horizon, width)}"
                checks.refuse(rule, np.shape(future))
            if np.isinf(np.asarray(future, np.float64)).any():
                raise DataError("future must be finite, or NaN where a value is missing; got infinity.")
            if self.scaling is not None and len(self.scaling.future) != width:
                rule = f"the scaling must name the places of {width} covariates known in advance"
                checks.refuse(rule, self.scaling.future, "Take that of window_series.")

    def _direct(self, windows: np.ndarray, future: Any, batch_size: int) -> Forecasts:
        inputs = prepared_inputs(windows, future, self.scaling)
        outputs = self.main.predict(inputs, batch_size=batch_size, verbose=0)
        return read_outputs(outputs, self.distribution, self.scaling)


def central(outputs: Any, distribution: Any) -> Any:
    """Returns (B, horizon, targets) of outputs: values, means, or the quantile nearest to the median.

    Of two that are as near, such as 0.1 and 0.9, it is their mean.
    """
    if distribution == "point":
        return outputs
    if distribution == "gaussian":
        return outputs[..., 0]
    distances = np.abs(np.array(distribution) - 0.5)
    first, *second = np.flatnonzero(distances < distances.min() + 1e-9).tolist()
    return (outputs[..., first] + outputs[..., second[0]]) / 2 if second else outputs[..., first]


def prepared_inputs(windows: np.ndarray, future: Any, scaling: SeriesScaling | None) -> Any:
    """Returns raw windows and covariates as inputs of a network.

    Args:
        windows: (N, T, channels).
        future: (N, horizon, F), or None; its columns are the last but the static channels of a window.
        scaling: scaling of the channels, or None.

    Raises:
        DataError: a window has no value in a channel.
    """
    empty = np.argwhere(np.isnan(windows).all(axis=1))
    if len(empty):
        window, channel = empty[0]
        raise DataError(f"a window must have a value in each channel; window {window} has none in channel {channel}.")
    inputs = windows if scaling is None else scaling.scaled(windows)
    if future is None:
        return inputs.astype("float32")
    ahead = np.asarray(future, np.float64)
    if scaling is not None:
        ahead = scaling.scaled_future(ahead)
    return {"window": inputs.astype("float32"), "future": ahead.astype("float32")}


def read_outputs(outputs: np.ndarray, distribution: Any, scaling: SeriesScaling | None) -> Forecasts:
    """Returns the outputs of a network as forecasts in the unit of the series.

    Raises:
        DataError: an output is not finite.
    """
    outputs = np.asarray(outputs, np.float64)
    if not np.isfinite(outputs).all():
        place = int(np.argwhere(~np.isfinite(outputs))[0][0])
        rule = f"a forecast must be finite; that of window {place} is not"
        raise DataError(f"{rule}. Look for very large values in it, and in the weights.")
    raw = (lambda each: each) if scaling is None else scaling.unscaled
    if not isinstance(distribution, str):
        outputs = np.sort(outputs, axis=-1)  # quantiles of a network may cross
    values = raw(central(outputs, distribution))
    if distribution == "point":
        return Forecasts(values, {})
    if distribution == "gaussian":
        std = np.exp(outputs[..., 1])
        return Forecasts(values, {}, std if scaling is None else std * np.array(scaling.std[: scaling.targets]))
    return Forecasts(values, {level: raw(outputs[..., place]) for place, level in enumerate(distribution)})


def _window_input(network: keras.Model) -> Any:
    if len(network.inputs) == 1:
        return network.inputs[0]
    by_name = {tensor.name: tensor for tensor in network.inputs}
    if set(by_name) != {"window", "future"}:
        checks.refuse("a forecasting network must take a window, or `window` and `future`", sorted(by_name))
    return by_name["window"]
