"""Windows of series: parts cut by time, scaling fitted on the train part, inputs, labels and their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed

from ..dataset import Dataset
from ..sources import Examples
from ..splits import SHARES, SPLITS
from .records import TimeSeries
from .scaling import SeriesScaling


@dataclass(frozen=True, eq=False, repr=False)
class SeriesWindows(Displayed):
    """Windows of one or several series in three parts that follow each other in time, from `window_series`.

    Example:
        >>> window_series(load_series("co2"), 52, 13)
        SeriesWindows of co2, 52 steps to forecast 13
          channels    co2
          train       1306 windows
          validation  445 windows
          test        445 windows
    """

    train: Dataset
    """Windows whose inputs and labels lie in the first part."""
    validation: Dataset
    """Windows whose labels lie in the second part; inputs may reach back."""
    test: Dataset
    """Windows whose labels lie in the third part."""
    scaling: SeriesScaling
    """Mean and standard deviation of each channel over the first part."""
    series: tuple[TimeSeries, ...]
    """The series, whole."""
    length: int
    """Steps of a window."""
    horizon: int
    """Steps to forecast."""
    origins: Mapping[str, np.ndarray]
    """(N, 2) of each part: number of the series, and the first step to forecast."""

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the preprocessing of a bundle of the task `forecasting`."""
        first = self.series[0]
        names = {"channels": list(first.channels), "future": list(first.future)}
        numbers = {"targets": len(first.target), "length": self.length, "horizon": self.horizon}
        return {**names, **numbers, "mean": list(self.scaling.mean), "std": list(self.scaling.std)}

    def _shown(self):
        rows = {split: f"{getattr(self, split).size} windows" for split in SPLITS}
        names = ", ".join(each.name for each in self.series)
        title = f"SeriesWindows of {names}, {self.length} steps to forecast {self.horizon}"
        return title, {"channels": ", ".join(self.series[0].channels), **rows}


def window_series(
    series: TimeSeries | Sequence[TimeSeries],
    length: int,
    horizon: int,
    *,
    shares: Sequence[float] = SHARES,
    stride: int = 1,
) -> SeriesWindows:
    """Cuts series by time into train, validation and test, and each part into windows.

    Each series is cut at the same shares of its own length. The scaling is that of the train parts of all series
    together. Labels of a window lie in one part; windows at a border, whose labels would lie in two, are left out.
    Series of very different sizes learn better as logarithms or as shares of their first values.

    Args:
        series: one or several series with the same columns.
        length: steps of a window, the inputs.
        horizon: steps to forecast, the labels.
        shares: shares of the time of train, validation and test, with the sum 1.
        stride: steps between the windows of the train part.

    Returns:
        Datasets of the task `forecasting`: inputs (B, length, channels), targets first; with future covariates a dict
        of these as `window` and of `future` (B, horizon, covariates). Labels (B, horizon, targets). All are scaled,
        float32. Where labels are missing, weights (B, horizon) are 0.

    Raises:
        ArgumentError: the series differ in their columns, or are too short for a window in each part.

    Example:
        >>> data = window_series(load_series("sunspots"), 33, 11)
        >>> data.train.arrays()[0].shape, data.test.arrays()[1].shape
        ((142, 33, 1), (52, 11, 1))
    """
    series = (series,) if isinstance(series, TimeSeries) else tuple(series)
    checks.at_least("length", length, 1)
    checks.at_least("horizon", horizon, 1)
    checks.at_least("stride", stride, 1)
    _check_series(series, shares)
    origins = {split: [] for split in SPLITS}
    for number, each in enumerate(series):
        cuts = cuts_of(each.size, shares)
        for split, start, stop in zip(SPLITS, cuts, cuts[1:], strict=False):
            firsts = np.arange(max(start, length), stop - horizon + 1, stride if split == "train" else 1)
            if not firsts.size:
                rule = f"{each.name} must have a window of {length} + {horizon} steps in its part {split}"
                checks.refuse(rule, f"steps {start} to {stop}", "Take a shorter length or horizon, or other shares.")
            origins[split].append(np.stack([np.full(len(firsts), number), firsts], axis=1))
    places = {split: np.concatenate(parts) for split, parts in origins.items()}
    past = [each.values()[: cuts_of(each.size, shares)[1]] for each in series]
    scaling = SeriesScaling.of(np.concatenate(past), len(series[0].target), future_places(series[0]))
    parts = [_dataset(series, places[split], length, horizon, scaling) for split in SPLITS]
    return SeriesWindows(*parts, scaling, series, length, horizon, places)


def cuts_of(size: int, shares: Sequence[float]) -> list[int]:
    """Returns the steps at which the parts of a series begin, and its size."""
    return [0, *(round(size * sum(shares[:place])) for place in (1, 2)), size]


def windows_at(series: Sequence[TimeSeries], origins: np.ndarray, length: int, horizon: int) -> tuple:
    """Returns raw windows (N, length, channels), future covariates (N, horizon, F) and labels (N, horizon, targets).

    Args:
        series: the series.
        origins: (N, 2) number of the series and first step to forecast.
        length: steps of a window.
        horizon: steps to forecast.
    """
    all_channels = [each.values() for each in series]
    targets = [each.values("target") for each in series]
    future = [each.values("future") for each in series]
    windows = np.stack([all_channels[number][step - length : step] for number, step in origins])
    ahead = np.stack([future[number][step : step + horizon] for number, step in origins])
    labels = np.stack([targets[number][step : step + horizon] for number, step in origins])
    return windows, ahead, labels


def future_places(series: TimeSeries) -> list[int]:
    """Returns the places of the future covariates among the channels."""
    return [series.channels.index(name) for name in series.future]


def _check_series(series: tuple[TimeSeries, ...], shares: Sequence[float]) -> None:
    if not series or not all(isinstance(each, TimeSeries) for each in series):
        checks.refuse("series must be one TimeSeries or more", [type(each).__name__ for each in series])
    forms = {(each.target, each.past, each.future, tuple(each.static)) for each in series}
    if len(forms) > 1:
        checks.refuse("all series must have the same columns in the same roles", sorted(map(str, forms)))
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        checks.refuse("shares must be three numbers above 0 with the sum 1", shares)


def _dataset(
    series: tuple[TimeSeries, ...], origins: np.ndarray, length: int, horizon: int, scaling: SeriesScaling
) -> Dataset:
    first = series[0]
    windows, ahead, labels = windows_at(series, origins, length, horizon)
    inputs = scaling.scaled(windows).astype("float32")
    if first.future:
        ahead = scaling.scaled_future(ahead).astype("float32")
        inputs = {"window": inputs, "future": ahead}
    known = ~np.isnan(labels).any(axis=-1)
    labels = np.nan_to_num(scaling.scaled_targets(labels), nan=0.0).astype("float32")
    return Dataset(
        name=first.name if len(series) == 1 else f"{first.name} and {len(series) - 1} more",
        task="forecasting",
        class_names=(),
        input_shape=(length, len(first.channels)),
        input_dtype="float32",
        size=len(labels),
        licence=first.licence,
        seekable=True,
        scale=None,
        source=Examples(inputs, labels, None if known.all() else known.astype("float32")),
        feature_names=first.channels,
        feature_mean=scaling.mean,
        feature_std=scaling.std,
    )
