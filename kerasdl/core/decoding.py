"""Plain results from output arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def softmax(logits: Any) -> np.ndarray:
    """Returns probabilities (B, K) in float64 from logits (B, K)."""
    logits = np.asarray(logits, np.float64)
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def decode_classes(logits: Any, labels: Sequence[str]) -> list[dict]:
    """Returns `{"label", "score", "scores": {label: probability}}` per row of logits (B, K), likeliest first.

    Labels that are missing are called by their number.
    """
    results = []
    for row in softmax(logits):
        order = np.argsort(-row, kind="stable")
        names = [labels[k] if k < len(labels) else str(k) for k in order]
        scores = {name: float(row[k]) for name, k in zip(names, order, strict=True)}
        results.append({"label": names[0], "score": scores[names[0]], "scores": scores})
    return results


def decode_labels(logits: Any, labels: Sequence[str]) -> list[dict]:
    """Returns `{"labels": [...], "scores": {label: probability}}` per row of logits (B, K), each label by itself.

    Found are labels of a probability of one half and more. Labels that are missing are called by their number.
    """
    results = []
    for row in 1 / (1 + np.exp(-np.asarray(logits, np.float64))):
        order = np.argsort(-row, kind="stable")
        scores = {labels[k] if k < len(labels) else str(k): float(row[k]) for k in order}
        results.append({"labels": [name for name, score in scores.items() if score >= 0.5], "scores": scores})
    return results


def decode_values(outputs: Any, labels: Sequence[str]) -> list[dict]:
    """Returns `{"value": number}` per row of outputs (B, 1), or `{label: number, ...}` where there are more columns."""
    outputs = np.asarray(outputs, np.float64)
    names = list(labels) if len(labels) == outputs.shape[-1] else ["value"]
    if len(names) != outputs.shape[-1]:
        names = [str(column) for column in range(outputs.shape[-1])]
    return [dict(zip(names, map(float, row), strict=True)) for row in outputs]
