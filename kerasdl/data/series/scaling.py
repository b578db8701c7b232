"""Scaling of windows: each channel by mean and standard deviation of the train part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks

LEAST = 1e-12
"""Smallest standard deviation of a channel that changes, as a share of its largest value."""


@dataclass(frozen=True)
class SeriesScaling:
    """Mean and standard deviation of each channel of a window, targets first.

    Example:
        >>> scaling = SeriesScaling.of(np.array([[1.0], [3.0]]), targets=1)
        >>> scaling.scaled(np.array([[[5.0]]])), scaling.unscaled(np.array([[[3.0]]]))
        (array([[[3.]]]), array([[[5.]]]))
    """

    mean: tuple[float, ...]
    """Mean of each channel, which is subtracted."""
    std: tuple[float, ...]
    """Standard deviation of each channel, by which it is divided; 1 for a channel that does not change."""
    targets: int
    """Number of targets, the first channels."""
    future: tuple[int, ...] = ()
    """Places of the covariates known in advance among the channels."""

    @classmethod
    def of(cls, values: np.ndarray, targets: int, future: Sequence[int] = ()) -> "SeriesScaling":
        """Returns the scaling of (T, channels) values; missing ones do not count.

        Raises:
            ArgumentError: a channel has no value, or the values are not (T, channels).
        """
        if np.ndim(values) != 2 or np.isnan(values).all(axis=0).any():
            checks.refuse("values must be (T, channels) with a number in each channel", np.shape(values))
        mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        std = np.where(std > LEAST * np.nanmax(np.abs(values), axis=0), std, 1.0)
        return cls(
            tuple(map(float, mean)), tuple(map(float, std)), checks.at_least("targets", targets, 1), tuple(future)
        )

    def scaled(self, windows: Any) -> np.ndarray:
        """Returns windows (..., T, channels) of mean 0 and standard deviation 1, without gaps.

        A missing value takes the last one before it in its window, or else the mean.
        """
        values = filled((np.asarray(windows, np.float64) - self.mean) / self.std)
        return np.nan_to_num(values, copy=False, nan=0.0)

    def scaled_targets(self, targets: Any) -> np.ndarray:
        """Returns targets (..., targets) in the unit of the network; missing ones stay missing."""
        mean, std = self._of_targets()
        return (np.asarray(targets, np.float64) - mean) / std

    def unscaled(self, forecasts: Any) -> np.ndarray:
        """Returns forecasts (..., targets) in the unit of the series."""
        mean, std = self._of_targets()
        return np.asarray(forecasts, np.float64) * std + mean

    def scaled_future(self, future: Any) -> np.ndarray:
        """Returns covariates known in advance (..., steps, future) as `scaled` returns them in a window."""
        mean, std = (tuple(each[place] for place in self.future) for each in (self.mean, self.std))
        return SeriesScaling(mean, std, self.targets).scaled(future)

    def _of_targets(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.mean[: self.targets]), np.array(self.std[: self.targets])


def with_gaps(values: Any) -> np.ndarray:
    """Returns numbers as float64, those that are masked as NaN: `np.asarray` would give what lies under the mask."""
    return np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)


def filled(values: np.ndarray) -> np.ndarray:
    """Returns (..., T, channels) with each missing value replaced by the last one before it; the first stay missing."""
    steps = np.arange(values.shape[-2])[:, np.newaxis]
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, steps), axis=-2)
    return np.take_along_axis(values, last, axis=-2)
