"""Metrics of tags: entity F1 against seqeval's answers, accuracy by hand."""

import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.metrics import EntityF1, TagAccuracy

TAGS = {
    "BIO": ["O", "B-A", "I-A", "B-B", "I-B"],
    "BIOES": ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"],
}
# precision_score, recall_score and f1_score of seqeval 1.2.2; strict ones with mode="strict" and IOB2 or IOBES.
SEQEVAL = {
    ("BIO", False): (0.7076023391812866, 0.6875, 0.6974063400576368),
    ("BIO", True): (0.631578947368421, 0.6521739130434783, 0.6417112299465241),
    ("BIOES", False): (0.7557603686635944, 0.7354260089686099, 0.7454545454545455),
    ("BIOES", True): (0.75, 0.72, 0.7346938775510204),
}


def drawn(scheme, seed=7):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, 40)
    true = [rng.choice(TAGS[scheme], n).tolist() for n in lengths]
    found = [[tag if rng.random() < 0.7 else str(rng.choice(TAGS[scheme])) for tag in tags] for tags in true]
    return true, found


@pytest.mark.parametrize(("scheme", "strict"), SEQEVAL)
def test_figures_are_those_of_seqeval(scheme, strict):
    metric, (true, found) = EntityF1(scheme, strict=strict), drawn(scheme)
    for part in (slice(0, 15), slice(15, 40)):
        metric.update_state(true[part], found[part])
    assert tuple(metric.result().values()) == pytest.approx(SEQEVAL[scheme, strict], rel=1e-12)
    rows = metric.per_class()
    assert sum(row["support"] for row in rows.values()) == metric._true.total()
    metric.reset_state()
    assert metric.result() == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_an_entity_is_right_as_a_whole_or_not_at_all():
    metric = EntityF1("runs")
    metric.update_state([["A", "A", "B", "O", "C"]], [["A", "A", "B", "B", "O"]])
    assert metric.result() == pytest.approx({"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5})
    assert metric.per_class()["A"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert metric.per_class()["C"]["support"] == 1


def test_sequences_that_do_not_belong_together_are_refused():
    with pytest.raises(ArgumentError, match="predicted must have a tag"):
        EntityF1().update_state([["O"]], [["O", "O"]])
    with pytest.raises(ArgumentError, match="scheme"):
        EntityF1("IOB1")


def test_accuracy_counts_labelled_tokens_of_chains_and_of_single_tags():
    logits = np.array([[[2.0, 0.0], [1.5, 1.0], [9.0, 0.0]], [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    labels = np.array([[0, 1, -1], [1, 1, 0]])
    metric = TagAccuracy()
    metric.update_state(labels, logits)
    assert float(metric.result()) == pytest.approx(3 / 5)
    metric.update_state(labels, logits, [0.0, 1.0])
    assert float(metric.result()) == pytest.approx(5 / 8)
    chain = logits[:, :, None, :] + np.array([[0.0, 3.0], [0.0, 0.0]])  # 1 after 0: the second token is 1
    metric.reset_state()
    metric.update_state(labels, chain, [1.0, 0.0])
    assert float(metric.result()) == 1.0
    with pytest.raises(ArgumentError, match="one number a sequence"):
        metric.update_state(labels, logits, np.ones((2, 3)))
    with pytest.raises(ArgumentError, match="predictions must be"):
        metric.update_state(labels, logits[0])
