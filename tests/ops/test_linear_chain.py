"""Linear chains against all sequences of tags, one by one, and tag schemes against their rules."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl import ops
from kerasdl.core import ArgumentError

TAGS = {
    "BIO": ["O", "B-A", "I-A", "B-B", "I-B"],
    "BIOES": ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"],
}


def chain(seed, length, tags, masked=True, dtype="float64"):
    """Draws the parts of two chains; the mask of the second has any form."""
    rng = np.random.default_rng(seed)
    sizes = (2, length, tags), (tags, tags), (tags,), (tags,)
    parts = [(2 * rng.normal(size=size)).astype(dtype) for size in sizes]
    mask = np.ones((2, length), bool)
    if masked:
        mask[1] = rng.random(length) < 0.6
    return parts, mask


def scores_of(parts, mask):
    """Returns the score of every sequence of tags of the tokens of one row, by the definition."""
    logits, transitions, start, end = parts
    found = {}
    places = np.flatnonzero(mask)
    for path in itertools.product(range(len(start)), repeat=len(places)):
        tag, total = dict(zip(places.tolist(), path, strict=True)), 0.0
        for place in places.tolist():
            total += logits[place, tag[place]]
            total += transitions[tag[place - 1], tag[place]] if place - 1 in tag else start[tag[place]]
            total += 0.0 if place + 1 in tag else end[tag[place]]
        found[path] = total
    return found


def rows(parts, mask):
    for row in range(2):
        yield scores_of((parts[0][row], *parts[1:]), mask[row]), np.flatnonzero(mask[row])


def log_sum(values):
    values = np.array(list(values))
    return values.max() + np.log(np.exp(values - values.max()).sum()) if len(values) else -np.inf


cases = given(seed=st.integers(0, 10_000), length=st.integers(0, 5), tags=st.integers(1, 3))


@cases
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
def test_partition_likelihood_and_marginals_are_those_of_all_sequences(seed, length, tags):
    parts, mask = chain(seed, length, tags)
    potentials = ops.chain_potentials(*parts, mask=mask)
    partition, marginals = ops.chain_log_partition(potentials), ops.chain_marginals(potentials)
    labels = np.random.default_rng(seed).integers(-1, tags, (2, length))
    likelihood = ops.chain_log_likelihood(potentials, np.where(mask, labels, -1))
    for row, (every, places) in enumerate(rows(parts, mask)):
        total = log_sum(every.values())
        np.testing.assert_allclose(partition[row], total, atol=1e-9)
        agreeing = [
            score
            for path, score in every.items()
            if all(labels[row, place] in (-1, tag) for place, tag in zip(places, path, strict=True))
        ]
        np.testing.assert_allclose(likelihood[row], log_sum(agreeing) - total, atol=1e-9)
        for order, place in enumerate(places):
            for tag in range(tags):
                share = sum(np.exp(score - total) for path, score in every.items() if path[order] == tag)
                np.testing.assert_allclose(marginals[row, place, tag], share, atol=1e-9)
    np.testing.assert_allclose(marginals.numpy()[~mask], 1 / tags, atol=1e-9)


@cases
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
def test_decoding_gives_the_best_sequences_in_their_order(seed, length, tags):
    parts, mask = chain(seed, length, tags)
    potentials = ops.chain_potentials(*parts, mask=mask)
    best, score = (each.numpy() for each in ops.viterbi(potentials, mask))
    guessed = ops.viterbi(potentials)[0].numpy()
    paths, scores = (each.numpy() for each in ops.best_paths(potentials, 4, mask))
    np.testing.assert_array_equal(best, paths[:, 0])
    np.testing.assert_array_equal(best, guessed)
    if length:
        np.testing.assert_array_equal(best, ops.viterbi(potentials, mask, unroll=True)[0])
        np.testing.assert_array_equal(ops.chain_marginals(potentials), ops.chain_marginals(potentials, unroll=True))
    np.testing.assert_allclose(score, scores[:, 0], atol=1e-9)
    assert not best[~mask].any()
    for row, (every, places) in enumerate(rows(parts, mask)):
        ordered = sorted(every.items(), key=lambda item: -item[1])[:4]
        for order, (path, value) in enumerate(ordered):
            assert tuple(paths[row, order, places].tolist()) == path
            np.testing.assert_allclose(scores[row, order], value, atol=1e-9)
        assert np.isneginf(scores[row, len(ordered) :]).all()


@pytest.mark.parametrize("scheme", TAGS)
def test_constraints_leave_exactly_the_sequences_of_the_scheme(scheme):
    names = TAGS[scheme]
    rules = ops.tag_constraints(names, scheme)
    parts, _ = chain(1, 3, len(names), masked=False)
    mask = np.array([[1, 1, 1], [1, 1, 0]], bool)
    potentials = ops.constrain_chain(ops.chain_potentials(*parts, mask=mask), rules, mask)
    np.testing.assert_array_equal(potentials, ops.constrain_chain(ops.chain_potentials(*parts, mask=mask), rules))
    for row, (every, _) in enumerate(rows(parts, mask)):
        legal = {}
        for path, score in every.items():
            spelled = [names[tag] for tag in path]
            told = sum(span.end - span.start for span in ops.tag_spans(spelled, scheme, strict=True))
            if told == sum(tag != "O" for tag in spelled):
                legal[path] = score
        assert 1 < len(legal) < len(every)
        np.testing.assert_allclose(ops.chain_log_partition(potentials)[row], log_sum(legal.values()), atol=1e-9)
        best = tuple(ops.viterbi(potentials, mask)[0].numpy()[row, : mask[row].sum()].tolist())
        assert best == max(legal, key=legal.get)
    broken = np.array([[2, 2, 2], [2, 2, -1]])  # an inner tag at the start
    assert np.isneginf(ops.chain_log_likelihood(potentials, broken)).all()


def test_gradient_of_the_partition_is_the_marginals_and_equals_differences():
    parts, mask = chain(3, 4, 3)
    tensors = [tf.constant(each) for each in parts]

    def partition(*tensors):
        return tf.reduce_sum(ops.chain_log_partition(ops.chain_potentials(*tensors, mask=mask)))

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = partition(*tensors)
    gradients = [each.numpy() for each in tape.gradient(total, tensors)]
    marginals = ops.chain_marginals(ops.chain_potentials(*parts, mask=mask)).numpy()
    np.testing.assert_allclose(gradients[0][mask], marginals[mask], atol=1e-9)
    assert not gradients[0][~mask].any()
    for part, gradient in enumerate(gradients):
        direction = np.random.default_rng(part).normal(size=gradient.shape)
        ends = [[*parts[:part], parts[part] + step * direction, *parts[part + 1 :]] for step in (1e-5, -1e-5)]
        slope = (partition(*ends[0]) - partition(*ends[1])) / 2e-5
        np.testing.assert_allclose(slope, (gradient * direction).sum(), rtol=1e-6)


def test_what_is_forbidden_has_no_probability_and_no_gradient_that_is_not_a_number():
    (logits, transitions, start, end), _ = chain(5, 3, 2, masked=False)
    transitions[0, 1] = start[1] = -np.inf
    tensors = [tf.constant(each) for each in (logits, transitions, start, end)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        potentials = ops.chain_potentials(*tensors)
        likelihood = ops.chain_log_likelihood(potentials, [[0, 0, 0], [0, -1, -1]])
    np.testing.assert_allclose(likelihood, 0.0, atol=1e-9)  # one sequence is left
    for gradient in tape.gradient(likelihood, tensors):
        assert np.isfinite(gradient).all()
    assert ops.viterbi(potentials)[0].numpy().tolist() == [[0, 0, 0]] * 2
    end[0] = -np.inf
    potentials = ops.chain_potentials(logits, transitions, start, end)
    assert np.isneginf(ops.chain_log_partition(potentials)).all()
    assert np.isneginf(ops.viterbi(potentials)[1]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_numbers_are_added_in_float32(dtype):
    parts, mask = chain(6, 5, 3)
    narrow = [tf.cast(each, dtype) for each in parts]
    wide = [tf.cast(each, "float64").numpy() for each in narrow]
    potentials = ops.chain_potentials(*narrow, mask=mask)
    found = ops.chain_log_partition(potentials)
    assert potentials.dtype == found.dtype == tf.float32
    for row, (every, _) in enumerate(rows(wide, mask)):
        np.testing.assert_allclose(found[row], log_sum(every.values()), rtol=1e-5)


def test_compiled_functions_take_any_length():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 3)), tf.TensorSpec((3, 3)), tf.TensorSpec((3,))])
    def decode(logits, transitions, ends):
        potentials = ops.chain_potentials(logits, transitions, ends, ends)
        return ops.viterbi(potentials)[0], ops.chain_marginals(potentials), ops.chain_log_partition(potentials)

    for length in (1, 6):
        (logits, transitions, start, _), _ = chain(7, length, 3, masked=False, dtype="float32")
        potentials = ops.chain_potentials(logits, transitions, start, start)
        tags, marginals, partition = decode(logits, transitions, start)
        np.testing.assert_array_equal(tags, ops.viterbi(potentials)[0])
        np.testing.assert_allclose(marginals, ops.chain_marginals(potentials), atol=1e-6)
        np.testing.assert_allclose(partition, ops.chain_log_partition(potentials), rtol=1e-6)


# Entities as the evaluation of CoNLL reads them: each is (name, first token, last token).
SPELLED = [
    ("BIO", "B-A I-A O B-A B-A", [("A", 0, 1), ("A", 3, 3), ("A", 4, 4)]),
    ("BIO", "I-A I-B I-B O I-B", [("A", 0, 0), ("B", 1, 2), ("B", 4, 4)]),
    ("BIO", "B-A I-B", [("A", 0, 0), ("B", 1, 1)]),
    ("BIO", "O B-X-Y I-X-Y", [("X-Y", 1, 2)]),
    ("BIOES", "B-A I-A E-A S-A S-A O", [("A", 0, 2), ("A", 3, 3), ("A", 4, 4)]),
    ("BIOES", "B-A O E-A I-A", [("A", 0, 0), ("A", 2, 2), ("A", 3, 3)]),
    ("BIOES", "S-A E-A", [("A", 0, 0), ("A", 1, 1)]),
    ("runs", "A A O A B B", [("A", 0, 1), ("A", 3, 3), ("B", 4, 5)]),
    ("BIO", "", []),
]


@pytest.mark.parametrize(("scheme", "tags", "spans"), SPELLED)
def test_entities_are_read_as_conll_reads_them(scheme, tags, spans):
    found = [(span.label, span.start, span.end - 1) for span in ops.tag_spans(tags.split(), scheme)]
    assert found == spans


def test_strict_entities_follow_the_scheme():
    assert [span.start for span in ops.tag_spans(["I-A", "O", "B-A", "I-A"], "BIO", strict=True)] == [2]
    assert [span.start for span in ops.tag_spans(["B-A", "E-A", "O", "B-A", "I-A", "S-A"], "BIOES", strict=True)] == [
        0,
        5,
    ]


def test_other_tags_and_other_shapes_are_refused():
    with pytest.raises(ArgumentError, match="S-A"):
        ops.tag_spans(["S-A"], "BIO")
    with pytest.raises(ArgumentError, match="PlaceName"):
        ops.tag_constraints(["PlaceName"], "BIOES")
    with pytest.raises(ArgumentError, match="potentials must be"):
        ops.viterbi(np.zeros((1, 2, 3)))
    with pytest.raises(ArgumentError, match="a chain has logits"):
        ops.chain_potentials(np.zeros((1, 2, 3)), np.zeros((2, 2)), np.zeros(3), np.zeros(3))
    with pytest.raises(ArgumentError, match="2 tags of the chain"):
        ops.constrain_chain(np.zeros((1, 1, 2, 2)), ops.tag_constraints(["O"], "BIO"))
