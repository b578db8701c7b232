"""TokenAccuracy and ExactMatch against counting, over batches, weights and a save, and their refusals."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.metrics import ExactMatch, TokenAccuracy

RNG = np.random.default_rng(0)
TRUE = np.where(np.arange(6) < RNG.integers(0, 7, (40, 1)), RNG.integers(0, 2, (40, 6)), -1)
LOGITS = RNG.normal(size=(40, 6, 2)).astype("float32")
WEIGHTS = RNG.uniform(0, 2, 40).astype("float32")


def counted(metric, weights):
    rows = zip(TRUE, LOGITS.argmax(-1), strict=True)
    right = [[a == b for a, b in zip(row, ids, strict=True) if a != -1] for row, ids in rows]
    pairs = [(weight, row) for weight, row in zip(weights, right, strict=True) if row]
    if metric is TokenAccuracy:
        return sum(w * sum(row) for w, row in pairs) / sum(w * len(row) for w, row in pairs)
    return sum(w * all(row) for w, row in pairs) / sum(w for w, _ in pairs)


@pytest.mark.parametrize("metric", [TokenAccuracy, ExactMatch])
def test_shares_are_those_of_counting(metric):
    assert (TRUE == -1).all(1).any()  # a sequence without any token
    measure = metric()
    assert float(measure.result()) == 0
    for part in (slice(0, 33), slice(33, 40)):
        measure.update_state(TRUE[part], LOGITS[part])
    np.testing.assert_allclose(measure.result(), counted(metric, np.ones(40)), rtol=1e-6)
    weighted = metric()
    weighted.update_state(TRUE, LOGITS.argmax(-1), sample_weight=WEIGHTS)
    np.testing.assert_allclose(weighted.result(), counted(metric, WEIGHTS), rtol=1e-6)
    tokens = metric()
    tokens.update_state(TRUE, LOGITS, sample_weight=np.repeat(WEIGHTS[:, None], 6, axis=1))
    np.testing.assert_allclose(tokens.result(), weighted.result(), rtol=1e-6)
    again = keras.metrics.deserialize(keras.metrics.serialize(measure))
    again.update_state(TRUE, LOGITS)
    np.testing.assert_allclose(again.result(), measure.result(), rtol=1e-6)
    measure.reset_state()
    assert float(measure.result()) == 0


@pytest.mark.parametrize("metric", [TokenAccuracy, ExactMatch])
@pytest.mark.parametrize(("true", "predicted"), [((3,), (3, 2)), ((3, 4), (3, 5)), ((3, 4), (3, 4, 2, 2))])
def test_shapes_that_do_not_belong_together_are_refused(metric, true, predicted):
    with pytest.raises(ArgumentError, match="true"):
        metric().update_state(np.zeros(true, int), np.zeros(predicted))
