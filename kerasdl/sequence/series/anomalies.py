"""Anomalies of a series: scores of each step by the error of a forecast or of a reconstruction, and their figures."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from sklearn.metrics import average_precision_score

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, figures_text
from kerasdl.data.series import SeriesScaling, TimeSeries

from .forecaster import Forecaster


@dataclass(frozen=True, repr=False)
class AnomalyFigures(Displayed):
    """Figures of scores against labelled steps, from `measure_anomalies`.

    Example:
        >>> measure_anomalies(np.array([0.1, 0.9, 0.2]), np.array([0, 1, 0]), threshold=0.5)
        AnomalyFigures
          pr_auc 1, f1 1, precision 1, recall 1, share of steps 0.3333
    """

    pr_auc: float
    """Average precision: the area under precision over recall, over all thresholds."""
    f1: float
    """F1 score of single steps at the threshold, without point adjustment."""
    precision: float
    """Share of the steps above the threshold that are anomalies; 0 if no step is above it."""
    recall: float
    """Share of the anomalies above the threshold."""
    share: float
    """Share of the steps that are anomalies, the average precision of scores drawn at random."""

    def _shown(self):
        named = {"pr_auc": self.pr_auc, "f1": self.f1, "precision": self.precision, "recall": self.recall}
        return "AnomalyFigures", figures_text({**named, "share of steps": self.share})


def forecast_error_scores(forecaster: Forecaster, series: TimeSeries, *, batch_size: int = 256) -> np.ndarray:
    """Scores each step of a series by the error of its forecast from the steps before it.

    Source: Malhotra et al. 2015, https://www.esann.org/sites/default/files/proceedings/legacy/es2015-56.pdf.

    Args:
        forecaster: trained on windows without covariates known in advance; its first step is compared.
        series: the series to score.
        batch_size: windows computed at once.

    Returns:
        (T,) float64: squared error in standard deviations of the train part, the mean over targets; NaN for the first
        steps, which no window reaches, and for missing values.

    Raises:
        ArgumentError: the forecaster has no scaling, or does not fit the series.

    Example:
        >>> data = kerasdl.data.series.window_series(kerasdl.data.series.seasonal_series(200)[0], 24, 1)
        >>> network = kerasdl.build("dlinear", length=24, horizon=1, kernel=12)
        >>> scores = forecast_error_scores(Forecaster(network, scaling=data.scaling), data.series[0])
        >>> scores.shape, int(np.isnan(scores).sum())
        ((200,), 24)
    """
    length, scaling = forecaster.window_shape[0], forecaster.scaling
    if scaling is None or length is None:
        checks.refuse("a forecaster that scores must have a scaling and windows of known length", (scaling, length))
    windows = _windows(series, length)[:-1]
    values = series.values("target")
    found = forecaster.forecast(windows, batch_size=batch_size).values[:, 0]
    errors = (found - values[length:]) / np.array(scaling.std[: scaling.targets])
    return np.concatenate([np.full(length, np.nan), np.square(errors).mean(axis=1)])


def reconstruction_scores(
    network: keras.Model, series: TimeSeries, scaling: SeriesScaling, *, batch_size: int = 256
) -> np.ndarray:
    """Scores each step of a series by the error of its reconstruction, the mean over all windows that hold it.

    Source: Malhotra et al. 2016, https://arxiv.org/abs/1607.00148, section 2.

    Args:
        network: from windows (B, T, channels) to the same, such as `kerasdl.build("series_autoencoder")`.
        series: the series to score.
        scaling: of the windows that the network was trained on.
        batch_size: windows computed at once.

    Returns:
        (T,) float64: squared error in standard deviations, the mean over channels; NaN for missing values.

    Raises:
        ArgumentError: the network gives another shape than it takes, or does not fit the series.

    Example:
        >>> data = kerasdl.data.series.window_series(kerasdl.data.series.seasonal_series(200)[0], 32, 1)
        >>> network = kerasdl.build("series_autoencoder", length=32, filters=(4,))
        >>> reconstruction_scores(network, data.series[0], data.scaling).shape
        (200,)
    """
    shape = tuple(network.input_shape[1:])
    if len(shape) != 2 or None in shape or tuple(network.output_shape[1:]) != shape:
        checks.refuse("an autoencoder must give the windows (T, channels) that it takes", (shape, network.output_shape))
    windows = _windows(series, shape[0])
    if windows.shape[2] != shape[1]:
        checks.refuse(f"the series must have the {shape[1]} channels of the network", windows.shape[2])
    inputs = scaling.scaled(windows).astype("float32")
    errors = np.square(network.predict(inputs, batch_size=batch_size, verbose=0) - inputs).mean(axis=2)
    total, count = np.zeros((2, series.size))
    for place in range(shape[0]):  # step `place` of window k is step k + place of the series
        total[place : place + len(errors)] += errors[:, place]
        count[place : place + len(errors)] += 1
    return np.where(np.isnan(series.values()).any(axis=1), np.nan, total / count)


def measure_anomalies(scores: Any, labels: Any, *, threshold: float) -> AnomalyFigures:
    """Measures scores of steps against labels, each step by itself.

    Point adjustment counts all steps of a labelled range as found where one of them is; random scores then reach an F1
    near 1 (Kim et al. 2022, https://arxiv.org/abs/2109.05257). It is not used.

    Args:
        scores: (T,), the higher the stranger; steps of NaN do not count.
        labels: (T,) 1 at anomalies, 0 elsewhere.
        threshold: score from which a step counts as an anomaly, chosen without these labels: a high quantile of the
            scores of steps that are known to be normal.

    Returns:
        The figures.

    Raises:
        ArgumentError: shapes differ, labels are other than 0 and 1, or all are the same.

    Example:
        >>> measure_anomalies(np.array([1.0, 3.0, 2.0, 0.0]), np.array([0, 1, 1, 0]), threshold=2.5).recall
        0.5
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        checks.refuse(f"scores and labels must have one shape (T,), {labels.shape}", scores.shape)
    known = ~np.isnan(scores)
    scores, labels = scores[known], labels[known]
    if sorted(set(labels.tolist())) != [0, 1]:
        checks.refuse("labels of scored steps must be 0 and 1, both of them", sorted(set(labels.tolist()))[:4])
    above, truth = scores >= threshold, labels == 1
    hits = int((above & truth).sum())
    precision = hits / above.sum() if above.any() else 0.0
    recall = hits / truth.sum()
    f1 = 2 * hits / (above.sum() + truth.sum())
    area = average_precision_score(truth, scores)
    return AnomalyFigures(*(float(each) for each in (area, f1, precision, recall, truth.mean())))


def _windows(series: TimeSeries, length: int) -> np.ndarray:
    """Returns every window (N, length, channels) of a series."""
    values = series.values()
    if len(values) <= length:
        checks.refuse(f"a series must be longer than a window of {length} steps", len(values))
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=0).transpose(0, 2, 1)
