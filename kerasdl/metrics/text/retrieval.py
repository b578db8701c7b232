"""Figures of retrieval: recall among the first k results, and normalised discounted cumulative gain (nDCG)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks


def recall_at_k(ranked: Sequence[Sequence[Any]], relevant: Sequence[Any], k: int) -> float:
    """Returns the mean share of the relevant documents that stand among the first k results of each query.

    Args:
        ranked: the results of each query, the best first: numbers or names of documents, none twice.
        relevant: the relevant documents of each query, one or more.
        k: results that count.

    Returns:
        From 0 to 1.

    Raises:
        ArgumentError: queries differ in number, one has no relevant document, or a result comes twice.

    Example:
        >>> recall_at_k([[4, 7, 1], [2, 5, 9]], [[7], [3, 9]], k=2)
        0.5
    """
    checks.at_least("k", k, 1)
    shares = []
    for results, wanted in _queries(ranked, relevant):
        shares.append(len({*results[:k]} & {*wanted}) / len(wanted))
    return float(np.mean(shares))


def ndcg_at_k(ranked: Sequence[Sequence[Any]], relevant: Sequence[Any], k: int) -> float:
    """Returns the mean normalised discounted cumulative gain of the first k results of each query.

    The gain of the result at place i, from 1, is divided by log2(i + 1); the sum is divided by that of the best order.

    Source: https://doi.org/10.1145/582415.582418, section 2.2, with the base 2; gains are linear, as in scikit-learn.

    Args:
        ranked: the results of each query, the best first: numbers or names of documents, none twice.
        relevant: of each query the relevant documents, of gain 1, or a mapping of documents to gains from 0.
        k: results that count.

    Returns:
        From 0 to 1.

    Raises:
        ArgumentError: queries differ in number, one has no document of a gain above 0, a gain is negative or not
            finite, or a result comes twice.

    Example:
        >>> round(ndcg_at_k([[4, 7, 1]], [{7: 1.0, 1: 3.0}], k=3), 4)
        0.5869
    """
    checks.at_least("k", k, 1)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    shares = []
    for results, gains in _queries(ranked, relevant):
        found = np.array([gains.get(each, 0.0) for each in results[:k]])
        best = np.sort(np.array([*gains.values()]))[::-1][:k]
        shares.append(found @ discounts[: len(found)] / (best @ discounts[: len(best)]))
    return float(np.mean(shares))


def _queries(ranked: Sequence[Sequence[Any]], relevant: Sequence[Any]) -> list[tuple[list, dict[Any, float]]]:
    """Returns the results of each query, and the gain of each relevant document."""
    if len(ranked) != len(relevant) or not len(ranked):
        checks.refuse(
            "ranked and relevant must have one entry a query, and one query at least", (len(ranked), len(relevant))
        )
    pairs = []
    for number, (results, wanted) in enumerate(zip(ranked, relevant, strict=True)):
        results = list(results.tolist() if hasattr(results, "tolist") else results)
        if len({*results}) != len(results):
            checks.refuse("results of a query must come once each", f"ranked[{number}]")
        if isinstance(wanted, (str, bytes)):
            checks.refuse("relevant documents of a query must be a list or a mapping", wanted, "Give one as [name].")
        wanted = wanted.tolist() if hasattr(wanted, "tolist") else wanted
        gains = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted, 1.0)
        values = np.array([*gains.values()], np.float64)
        if not np.isfinite(values).all() or (values < 0).any():
            checks.refuse("gains must be finite numbers from 0", f"relevant[{number}]")
        gains = {each: float(value) for each, value in gains.items() if value > 0}
        if not gains:
            checks.refuse("each query must have a relevant document", f"relevant[{number}]", "Leave the query out.")
        pairs.append((results, gains))
    return pairs
