"""Perplexity and usage of codes over batches, by counts on the host."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.metrics import CodePerplexity, CodeUsage


def test_figures_are_those_of_all_batches():
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 6, (4, 3, 3)), rng.integers(0, 2, (2, 3, 3))]
    metrics = [CodePerplexity(10), CodeUsage(10)]
    assert [float(metric.result()) for metric in metrics] == [1, 0]
    for batch in batches:
        for metric in metrics:
            metric.update_state(batch)
    shares = np.bincount(np.concatenate([each.ravel() for each in batches]), minlength=10) / 54
    used = shares[shares > 0]
    assert float(metrics[0].result()) == pytest.approx(np.exp(-(used * np.log(used)).sum()), rel=1e-5)
    assert float(metrics[1].result()) == pytest.approx((shares > 0).mean())
    for metric in metrics:
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert (type(again), again.codes, again.name) == (type(metric), 10, metric.name)
        metric.reset_state()
        assert not metric.counts.numpy().any()
    with pytest.raises(ArgumentError, match="codes"):
        CodeUsage(0)
