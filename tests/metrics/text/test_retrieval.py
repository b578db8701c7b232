"""Recall and nDCG by hand, and nDCG against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from kerasdl.core.errors import ArgumentError
from kerasdl.metrics import ndcg_at_k, recall_at_k

RANKED = [["a", "b", "c", "d"], ["d", "c", "b", "a"]]
RELEVANT = [["b", "e"], {"d": 2.0, "a": 1.0, "c": 0.0}]


def test_figures_by_hand():
    assert recall_at_k(RANKED, RELEVANT, 1) == (0 / 2 + 1 / 2) / 2
    assert recall_at_k(RANKED, RELEVANT, 4) == (1 / 2 + 2 / 2) / 2
    first = (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    second = (2 + 1 / math.log2(5)) / (2 + 1 / math.log2(3))
    assert ndcg_at_k(RANKED, RELEVANT, 4) == pytest.approx((first + second) / 2)
    assert ndcg_at_k([["a"]], [["a", "b"]], 1) == 1.0
    assert ndcg_at_k([[]], [["a"]], 3) == recall_at_k([[]], [["a"]], 3) == 0.0


def test_ndcg_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    gains, scores = rng.integers(0, 4, (20, 30)), rng.permuted(np.tile(np.arange(30.0), (20, 1)), axis=1)
    gains[:, 0] = 1
    ranked = np.argsort(-scores, axis=1)
    for k in (1, 5, 30):
        ours = ndcg_at_k(ranked, [dict(enumerate(row.tolist())) for row in gains], k)
        assert ours == pytest.approx(ndcg_score(gains, scores, k=k), abs=1e-12)


@pytest.mark.parametrize(
    ("ranked", "relevant", "k", "rule"),
    [
        ([[1]], [[1], [2]], 1, "one entry a query"),
        ([], [], 1, "one query at least"),
        ([[1, 1]], [[1]], 1, "must come once each"),
        ([[1]], [[]], 1, "must have a relevant document"),
        ([[1]], [{1: 0.0}], 1, "must have a relevant document"),
        ([[1]], [{1: -1.0}], 1, "gains must be finite"),
        ([[1]], [{1: float("nan")}], 1, "gains must be finite"),
        ([["ab"]], ["ab"], 1, "must be a list or a mapping"),
        ([[1]], [[1]], 0, "k must be"),
    ],
)
def test_what_has_no_figure_is_refused(ranked, relevant, k, rule):
    for figure in (recall_at_k, ndcg_at_k):
        with pytest.raises(ArgumentError, match=rule):
            figure(ranked, relevant, k)
