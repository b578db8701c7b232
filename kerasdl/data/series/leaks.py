"""Search for leaks in windows: steps in two parts, a scaling that saw the test, a column that knows the target."""

import numpy as np

from kerasdl.core.errors import DataError

from ..splits import SPLITS
from .scaling import SeriesScaling
from .windowing import SeriesWindows

ALIKE = 0.999


def check_leakage(windows: SeriesWindows) -> SeriesWindows:
    """Checks that the train part of windows knows nothing of what comes after it.

    It finds three kinds of leaks. Two parts may share a step to forecast, as windows that were split at random do. The
    scaling may be of more than the train part. A covariate may be the target of a later step, or one known in advance
    the target of its own step; changes are compared, and a correlation beyond 0.999 is a leak.

    Args:
        windows: windows, of `window_series` or of your own making.

    Returns:
        The windows.

    Raises:
        DataError: there is a leak; the message names series, part, step or column.

    Example:
        >>> check_leakage(window_series(load_series("sunspots"), 33, 11)).horizon
        11
    """
    _check_order(windows)
    _check_scaling(windows)
    for each in windows.series:
        _check_columns(each, windows.horizon, _train_end(windows, windows.series.index(each)))
    return windows


def _check_order(windows: SeriesWindows) -> None:
    for number, each in enumerate(windows.series):
        end, before = None, ""
        for split in SPLITS:
            origins = windows.origins[split]
            firsts = origins[origins[:, 0] == number, 1]
            if not firsts.size:
                continue
            if end is not None and firsts.min() < end:
                rule = f"leak: step {firsts.min()} of {each.name} is forecast in {split}, and {before} reaches to {end}"
                raise DataError(f"{rule}. Cut the series by time before cutting windows, as window_series does.")
            end, before = firsts.max() + windows.horizon, split


def _train_end(windows: SeriesWindows, number: int) -> int:
    """Returns the first step that a later part forecasts."""
    later = np.concatenate([windows.origins[split] for split in SPLITS[1:]])
    firsts = later[later[:, 0] == number, 1]
    return int(firsts.min()) if firsts.size else windows.series[number].size


def _check_scaling(windows: SeriesWindows) -> None:
    past = [each.values()[: _train_end(windows, number)] for number, each in enumerate(windows.series)]
    right = SeriesScaling.of(np.concatenate(past), windows.scaling.targets)
    slack = 1e-6 * np.array(right.std) + 1e-12 * np.abs(right.mean)  # the second of rounding alone
    for kind in ("mean", "std"):
        given, expected = np.array(getattr(windows.scaling, kind)), np.array(getattr(right, kind))
        wrong = np.flatnonzero(np.abs(given - expected) > slack)
        if wrong.size:
            name = windows.series[0].channels[wrong[0]]
            rule = (
                f"leak: the {kind} of {name} is {given[wrong[0]]:.9g}, that of the train part {expected[wrong[0]]:.9g}"
            )
            raise DataError(f"{rule}. Fit the scaling on the train part alone.")


def _check_columns(series, horizon: int, end: int) -> None:
    """Refuses a covariate whose changes are those of a target at a later step."""
    for target in series.target:
        changes = np.diff(series.columns[target][:end])
        for name in (*series.past, *series.future):
            own = np.diff(series.columns[name][:end])
            if _correlation(own, changes) > ALIKE and name in series.future:
                raise DataError(
                    f"leak: {name} of {series.name} is known in advance and moves as {target} does at the same step. "
                    "Name it among the past covariates, or leave it out."
                )
            for ahead in range(1, min(horizon, len(changes) - 3) + 1):
                if _correlation(own[:-ahead], changes[ahead:]) > ALIKE:
                    raise DataError(
                        f"leak: {name} of {series.name} moves as {target} does {ahead} steps later. "
                        "It was made of the target; leave it out, or shift it back."
                    )


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the absolute correlation where both are known; 0 where one of them does not change."""
    known = ~(np.isnan(one) | np.isnan(other))
    if known.sum() < 3 or one[known].std() == 0 or other[known].std() == 0:
        return 0.0
    return abs(float(np.corrcoef(one[known], other[known])[0, 1]))
