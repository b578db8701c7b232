"""Calibration of a classifier's scores: temperature scaling (Guo et al. 2017), calibration error, and a least score.

Paper: "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599. The temperature is found by
bisection on the slope of the loss, which is convex in 1 / temperature; the paper leaves the method open.
"""

from typing import Any

import numpy as np

from .. import checks
from .decoding import softmax, to_logits

LEAST, GREATEST = 0.01, 100.0
"""Bounds of a temperature."""
BINS = 15
"""Bins of the calibration error, as in the paper."""
DIGITS = 1e6
"""Thresholds are whole millionths, rounded down: a file that rounds a little keeps the example they come from."""


def fit_temperature(logits: Any, truth: Any) -> float:
    """Returns the temperature at which the negative log-likelihood of softmax(logits / temperature) is least.

    Args:
        logits: logits (N, K).
        truth: index of the right class of each row, (N,).

    Returns:
        A number from 0.01 to 100; exactly 1 if every answer is right, since then no temperature is the best.

    Raises:
        ArgumentError: the logits are no better than chance, so that the best temperature is infinite.

    Example:
        >>> fit_temperature([[3.0, 0.0]] * 3 + [[0.0, 3.0]], [0, 0, 0, 0])  # 3 of 4 right at a score of 0.95
        2.730717664...
    """
    logits, truth = np.asarray(logits, np.float64), np.asarray(truth, int)
    right = logits[np.arange(len(truth)), truth]
    if (right == logits.max(axis=-1)).all():
        return 1.0

    def slope(inverse: float) -> float:
        return float(((softmax(logits * inverse) * logits).sum(axis=-1) - right).mean())

    low, high = 1 / GREATEST, 1 / LEAST
    if slope(low) >= 0:
        rule = "scores to calibrate must be better than chance"
        checks.refuse(rule, f"right answers to {np.mean(logits.argmax(axis=-1) == truth):.0%} of {len(truth)} examples")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high


def at_temperature(outputs: Any, kind: str, temperature: float) -> np.ndarray:
    """Returns softmax(logits / temperature), (B, K), from logits or from probabilities."""
    return softmax(np.asarray(to_logits(outputs, "softmax", kind), np.float64) / temperature)


def calibration_error(scores: Any, truth: Any, bins: int = BINS) -> float:
    """Returns the expected calibration error: the mean distance of score and accuracy over bins of the highest score.

    Args:
        scores: probabilities (N, K).
        truth: index of the right class of each row, (N,).
        bins: number of bins of equal width, open below and closed above.

    Example:
        >>> round(calibration_error([[0.9, 0.1], [0.9, 0.1]], [0, 1]), 3)  # half right at a score of 0.9
        0.4
    """
    scores, truth = np.asarray(scores, np.float64), np.asarray(truth)
    highest, is_right = scores.max(axis=-1), scores.argmax(axis=-1) == truth
    places = confidence_bins(highest, bins)
    gaps = np.bincount(places, weights=is_right - highest, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def confidence_bins(highest: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Returns the bin of each highest score, from 0 on; bins are of equal width, open below and closed above."""
    return np.clip(np.ceil(highest * bins).astype(int) - 1, 0, bins - 1)


def score_keeping(scores: Any, share: float) -> float:
    """Returns the greatest score such that at least this share of some scores is not below it.

    Args:
        scores: scores of right answers, at least one.
        share: from 0 to 1.

    Example:
        >>> score_keeping([0.9, 0.6, 0.8, 0.7], 0.75)
        0.7
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    lost = int(np.floor((1 - share) * len(ordered) + 1e-9))
    return float(np.floor(ordered[min(lost, len(ordered) - 1)] * DIGITS) / DIGITS)


def score_parting(right: Any, others: Any) -> float:
    """Returns the score that parts two sets best: the mean of the shares kept of one and rejected of the other is most.

    Args:
        right: scores of right answers; those not below the result are kept.
        others: scores of examples of no class; those below the result are rejected.

    Example:
        >>> score_parting([0.9, 0.8, 0.4], [0.3, 0.5, 0.6])
        0.8
    """
    right, others = np.sort(np.asarray(right, np.float64)), np.sort(np.asarray(others, np.float64))
    options = np.unique(np.floor(right * DIGITS) / DIGITS)
    lost, found = (np.searchsorted(each, options, side="left") / len(each) for each in (right, others))
    return float(options[np.argmax(found - lost)])
