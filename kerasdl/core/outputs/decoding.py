"""Decoding of output arrays into plain results: labels with probabilities, or values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NONE = "none of these"


def softmax(logits: Any) -> np.ndarray:
    """Returns probabilities (B, K) in float64 from logits (B, K)."""
    logits = np.asarray(logits, np.float64)
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def sigmoid(logits: Any) -> np.ndarray:
    """Returns independent probabilities in float64 from logits."""
    logits = np.asarray(logits, np.float64)
    return np.exp(-np.logaddexp(0.0, -logits))


def to_scores(outputs: Any, activation: str | None, kind: str) -> np.ndarray:
    """Returns scores, the probabilities or values that a task decodes, from outputs.

    Args:
        outputs: outputs of a model, (B, K).
        activation: turns logits into scores, `softmax`, `sigmoid` or None, as in `Task`.
        kind: of the outputs, `logits`, `probabilities` or `values`; only logits are changed.
    """
    if kind != "logits" or activation is None:
        return np.asarray(outputs, np.float64)
    return softmax(outputs) if activation == "softmax" else sigmoid(outputs)


def to_logits(outputs: Any, activation: str | None, kind: str) -> np.ndarray:
    """Returns logits in float32: the logarithm of softmax probabilities, the log-odds of sigmoid probabilities."""
    if kind != "probabilities" or activation is None:
        return np.asarray(outputs)
    least = np.finfo(np.float32).tiny
    probabilities = np.clip(np.asarray(outputs, np.float64), least, 1.0)
    logits = np.log(probabilities) - (0 if activation == "softmax" else np.log(np.maximum(1 - probabilities, least)))
    return logits.astype(np.float32)


def decode_classes(scores: Any, labels: Sequence[str], context: None = None) -> list[dict]:
    """Returns `{"label", "score", "scores": {label: probability}}` for each row of probabilities (B, K), sorted.

    Scores come from the highest to the lowest. A class without a label is named by its number.
    """
    results = []
    for row in np.asarray(scores, np.float64):
        order = np.argsort(-row, kind="stable")
        names = [labels[k] if k < len(labels) else str(k) for k in order]
        by_name = {name: float(row[k]) for name, k in zip(names, order, strict=True)}
        results.append({"label": names[0], "score": by_name[names[0]], "scores": by_name})
    return results


def decode_labels(scores: Any, labels: Sequence[str], context: None = None) -> list[dict]:
    """Returns `{"labels": [...], "scores": {label: probability}}` for each row of independent probabilities (B, K).

    `labels` holds those with a probability of 0.5 or more. A class without a label is named by its number.
    """
    results = []
    for row in np.asarray(scores, np.float64):
        order = np.argsort(-row, kind="stable")
        by_name = {labels[k] if k < len(labels) else str(k): float(row[k]) for k in order}
        results.append({"labels": [name for name, score in by_name.items() if score >= 0.5], "scores": by_name})
    return results


def decode_values(outputs: Any, labels: Sequence[str], context: None = None) -> list[dict]:
    """Returns `{"value": number}` for each row of outputs (B, 1), or `{label: number, ...}` for several columns."""
    outputs = np.asarray(outputs, np.float64)
    names = list(labels) if len(labels) == outputs.shape[-1] else ["value"]
    if len(names) != outputs.shape[-1]:
        names = [str(column) for column in range(outputs.shape[-1])]
    return [dict(zip(names, map(float, row), strict=True)) for row in outputs]


def one_row(result: Mapping[str, Any]) -> list[dict]:
    """Returns a result as the one row of a table for people: itself, without the scores of every label.

    The label None of a calibrated classifier reads "none of these".

    Example:
        >>> one_row({"label": "cat", "score": 0.9, "scores": {"cat": 0.9, "dog": 0.1}})
        [{'label': 'cat', 'score': 0.9}]
    """
    unknown = {"label": NONE} if result.get("label", "") is None else {}
    return [{name: value for name, value in {**result, **unknown}.items() if name != "scores"}]
