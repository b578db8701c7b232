"""Calibration of a classifier: accuracy beside confidence, and the temperature that mends it."""

from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import ArgumentError
from kerasdl.core.outputs.calibration import calibration_error, confidence_bins, fit_temperature
from kerasdl.core.outputs.decoding import softmax

LEAST = 20
"""Examples from which on a temperature is fitted."""


class Reliability(NamedTuple):
    """Calibration of a classifier over labelled data, before and after temperature scaling."""

    bins: list[dict[str, Any]]
    """Rows of `confidence` (mean highest score), `accuracy` and `examples` for each bin with examples."""
    error: float
    """Expected calibration error over 15 bins, as it is."""
    temperature: float | None
    """Divisor of the logits that mends it, fitted on all examples; None where none can be fitted."""
    error_scaled: float | None
    """The error with a temperature that each half of the examples takes from the other half."""


def reliability(logits: np.ndarray, truth: np.ndarray, *, seed: int = 0) -> Reliability:
    """Returns how well the highest score of each example says how often it is right.

    Source: https://arxiv.org/abs/1706.04599, sections 2 and 4.2.

    Args:
        logits: logits (N, K).
        truth: true classes (N,).
        seed: seed of the halves.

    Returns:
        Bins, errors, temperature.

    Raises:
        ArgumentError: shapes or classes do not fit, or logits are not finite or are probabilities.

    Example:
        >>> sure = np.tile([[9.0, 0.0]], (4000, 1))
        >>> found = reliability(sure, np.arange(4000) % 4 == 0)
        >>> round(found.error, 2), round(found.error_scaled, 1)
        (0.25, 0.0)
    """
    logits, truth = np.asarray(logits, float), np.asarray(truth)
    if logits.ndim != 2 or truth.shape != logits.shape[:1] or not len(logits) or not np.isfinite(logits).all():
        checks.refuse("logits must be finite (N, K), and truth (N,)", (logits.shape, truth.shape))
    if logits.min() >= 0 and np.abs(logits.sum(axis=1) - 1.0).max() < 1e-6:
        checks.refuse("logits must be no probabilities", "rows that sum to 1", "Take np.log(scores).")
    truth, given = truth.astype(int), truth
    if (truth != given).any() or truth.min() < 0 or truth.max() >= logits.shape[1]:
        checks.refuse(f"truth must be classes from 0 to {logits.shape[1] - 1}", given[:5])
    scores = softmax(logits)
    highest, is_right = scores.max(axis=1), scores.argmax(axis=1) == truth
    places = confidence_bins(highest)
    bins = [
        {
            "confidence": float(highest[places == place].mean()),
            "accuracy": float(is_right[places == place].mean()),
            "examples": int((places == place).sum()),
        }
        for place in np.unique(places)
    ]
    temperature = scaled = None
    if len(truth) >= LEAST:
        first = np.random.default_rng(seed).permutation(len(truth)) < len(truth) // 2
        try:
            temperature = fit_temperature(logits, truth)
            halves = [fit_temperature(logits[half], truth[half]) for half in (first, ~first)]
        except ArgumentError:  # no better than chance
            pass
        else:
            mended = softmax(logits / np.where(first, halves[1], halves[0])[:, None])
            scaled = calibration_error(mended, truth)
    return Reliability(bins, calibration_error(scores, truth), temperature, scaled)
