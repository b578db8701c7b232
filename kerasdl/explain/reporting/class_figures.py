"""Figures of a classifier class by class, from probabilities and true classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasdl.metrics import precision_recall, roc_curve

Z = 1.959964
"""Deviations of an interval of 95 %."""


def confusion_of(answers: np.ndarray, truth: np.ndarray, count: int) -> np.ndarray:
    """Returns examples by true class (row) and answer (column), (K, K)."""
    return np.bincount(truth * count + answers, minlength=count * count).reshape(count, count)


def class_rows(scores: np.ndarray, truth: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Returns a row of figures for each class: precision, recall, F1, and areas under curves of one against all.

    Args:
        scores: probabilities (N, K).
        truth: true classes (N,).
        labels: name of each class.

    Returns:
        Rows with `class`, `examples`, `precision`, `recall`, `f1`, `roc_auc`, `average_precision`; None for a figure
        that has no examples to stand on.
    """
    confusion = confusion_of(scores.argmax(axis=1), truth, len(labels))
    rows = []
    for number, label in enumerate(labels):
        right, examples, named = confusion[number, number], confusion[number].sum(), confusion[:, number].sum()
        is_class = (truth == number).astype(int)
        curved = examples > 0
        parted = curved and examples < len(truth)
        rows.append(
            {
                "class": label,
                "examples": int(examples),
                "precision": _share(right, named),
                "recall": _share(right, examples),
                "f1": _share(2 * right, examples + named),
                "roc_auc": float(roc_curve(scores[:, number], is_class).area) if parted else None,
                "average_precision": (
                    float(precision_recall(scores[:, number], is_class).average_precision) if curved else None
                ),
            }
        )
    return rows


def interval_of(right: int, count: int) -> tuple[float, float]:
    """Returns the interval of 95 % of a share by Wilson's score (https://doi.org/10.2307/2276774)."""
    share, spare = right / count, Z**2 / count
    middle = (share + spare / 2) / (1 + spare)
    half = Z * (share * (1 - share) / count + spare / (4 * count)) ** 0.5 / (1 + spare)
    return max(0.0, middle - half), min(1.0, middle + half)


def slice_rows(is_right: np.ndarray, slices: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Returns the accuracy of each value of each slice, the lowest upper end of its interval first.

    Args:
        is_right: (N,) booleans.
        slices: values (N,) by name, such as `{"camera": cameras}`.
    """
    rows = []
    for name, values in slices.items():
        for value in np.unique(values):
            chosen = is_right[values == value]
            low, high = interval_of(int(chosen.sum()), len(chosen))
            rows.append(
                {
                    "slice": name,
                    "value": str(value),
                    "examples": len(chosen),
                    "accuracy": float(chosen.mean()),
                    "from": low,
                    "to": high,
                }
            )
    return sorted(rows, key=lambda row: row["to"])


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
