"""Precision, recall and thresholds: scikit-learn and brute force as oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

import kerasdl.metrics
from kerasdl.core import ArgumentError
from kerasdl.metrics import best_threshold, precision_recall

ROWS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=40)


def test_no_public_metric_escapes():
    own = {"PrecisionRecall", "best_threshold", "precision_recall"}
    # Those of detectors are in test_detection.py and test_detection_results.py.
    kinds = {"Curve", "Curves", "Confusion", "Errors", "Figures"}
    of_detectors = {f"Detection{kind}" for kind in kinds} | {
        f"detection_{kind}" for kind in ("curves", "confusion", "errors")
    }
    # Those of segmenters are in test_segmentation.py.
    of_segmenters = {"MeanIoU", "DiceCoefficient", "PixelAccuracy", "BoundaryF1", "HausdorffDistance"}
    of_segmenters |= {"PanopticQuality", "SegmentationFigures"}
    of_texts = {"EntityF1", "TagAccuracy"}  # in test_tags.py
    of_texts |= {"ExactMatch", "TokenAccuracy"}  # in test_text_matching.py
    of_texts |= {"BLEU", "ChrF", "ROUGE", "bleu", "chrf", "rouge"}  # in test_text_metrics.py
    of_texts |= {"CharacterErrorRate", "WordErrorRate", "edit_distance"}  # in test_text_metrics.py
    of_texts |= {"BitsPerToken", "Perplexity"}  # in text/test_perplexity.py
    of_texts |= {"SQuAD", "squad"}  # in text/test_answer_scores.py
    of_texts |= {"ndcg_at_k", "recall_at_k"}  # in text/test_retrieval.py
    # Those of forecasts are in test_forecast_errors.py.
    of_forecasts = {"MASE", "SMAPE", "QuantileScore", "IntervalCoverage", "seasonal_naive_error"}
    # Those of generated samples are in generative/test_generative_metrics.py, of curves in explain/test_reporting.py.
    of_samples = {"FrechetDistance", "frechet_distance", "KernelDistance", "KernelFigures", "sliced_wasserstein"}
    of_samples |= {"InceptionScore", "ScoreFigures", "Manifold", "ManifoldFigures", "memorised_share"}
    of_samples |= {"CodePerplexity", "CodeUsage"}  # in generative/test_code_use.py
    others = of_detectors | of_segmenters | of_texts | of_forecasts | of_samples | {"ROC", "roc_curve"}
    assert set(kerasdl.metrics.__all__) == own | others | {"MeanAveragePrecision"}


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(ROWS)
def test_the_trade_off_is_that_of_scikit_learn(rows):
    scores, labels = np.array([row[0] / 12 for row in rows]), np.array([row[1] for row in rows], int)
    if not labels.any():
        return
    found = precision_recall(scores, labels)
    assert found.average_precision == pytest.approx(oracle.average_precision_score(labels, scores))
    for threshold, precision, recall in zip(found.thresholds, found.precision, found.recall, strict=True):
        given = scores >= threshold
        assert precision == pytest.approx(oracle.precision_score(labels, given))
        assert recall == pytest.approx(oracle.recall_score(labels, given))


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(ROWS)
def test_no_other_threshold_is_better(rows):
    scores, labels = np.array([row[0] / 12 for row in rows]), np.array([row[1] for row in rows], int)
    if not labels.any():
        return
    best = oracle.f1_score(labels, scores >= best_threshold(scores, labels))
    tried = [oracle.f1_score(labels, scores >= at, zero_division=0) for at in np.linspace(-0.05, 1.05, 100)]
    assert best >= max(tried) - 1e-12


def test_each_class_has_its_own_threshold():
    scores = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.05], [0.2, 0.01]])
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    np.testing.assert_allclose(best_threshold(scores, labels), [0.55, 0.15])


def test_a_picture_is_drawn(tmp_path):
    precision_recall([0.9, 0.8, 0.3], [1, 0, 1]).plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ArgumentError, match="at least one 1"):
        best_threshold([0.1, 0.2], [0, 0])
    with pytest.raises(ArgumentError, match="one length"):
        precision_recall([0.1, 0.2], [0, 1, 1])
