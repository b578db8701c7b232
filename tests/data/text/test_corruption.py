"""Damage of T5 and BART: hand-made rows are put together again, exact shares, all places reached, equal seeds."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.data import text

ROW = list(range(10, 30))


def restored(source, answer):
    """Puts the spans of an answer in the places of their sentinels, ids from 80 on."""
    spans, sentinel = {}, None
    for token in answer:
        if token >= 80:
            sentinel = token
            spans[sentinel] = []
        else:
            spans[sentinel].append(token)
    return [each for token in source for each in (spans[token] if token >= 80 else [token])], spans


def test_spans_and_the_rest_make_the_row():
    begins, ends, counts = set(), set(), set()
    for seed in range(60):
        source, answer = (
            each.numpy().tolist()
            for each in text.corrupt_spans(ROW, (seed, 7), first_sentinel=99, rate=0.3, sentinels=9)
        )
        row, spans = restored(source, answer)
        assert row == ROW
        assert list(spans) == [99, 98, 97]  # six tokens in two spans, and the end
        assert spans[97] == []
        assert all(spans[each] for each in (99, 98))
        assert [token for token in source if token >= 80] == [99, 98]
        begins.add(source[0] == 99)
        ends.add(source[-1] == 98)
        counts.add(len(spans[99]))
    assert begins == ends == {True, False}
    assert counts == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("row", "rate", "lost"), [([5], 0.15, 1), ([5, 6], 0.9, 1), ([5, 6, 7], 0.01, 1), (ROW, 1.0, 19)]
)
def test_short_rows_and_extreme_rates(row, rate, lost):
    for seed in range(5):
        source, answer = text.corrupt_spans(row, (seed, 0), first_sentinel=99, rate=rate, sentinels=9)
        assert restored(source.numpy().tolist(), answer.numpy().tolist())[0] == row
        assert sum(answer.numpy() < 80) == lost


def test_the_number_of_sentinels_is_kept():
    source, answer = text.corrupt_spans(ROW, (0, 0), first_sentinel=99, rate=0.5, mean_span=1.0, sentinels=3)
    assert (sum(source.numpy() >= 80), sum(answer.numpy() >= 80)) == (2, 3)
    assert restored(source.numpy().tolist(), answer.numpy().tolist())[0] == ROW


def test_masked_and_deleted_tokens_are_an_exact_share_and_the_rest_stays_in_order():
    seen = set()
    for seed in range(40):
        masked = text.mask_tokens(ROW, (seed, 1), mask=4, rate=0.25).numpy()
        assert (masked == 4).sum() == 5
        assert [a for a in masked if a != 4] == [b for a, b in zip(masked, ROW, strict=True) if a != 4]
        kept = text.delete_tokens(ROW, (seed, 1), rate=0.25).numpy().tolist()
        assert kept == [b for a, b in zip(masked, ROW, strict=True) if a != 4]  # one draw for both
        seen |= set(np.flatnonzero(masked == 4))
    assert seen == set(range(20))
    assert text.delete_tokens(ROW, (0, 0), rate=1.0).shape == (0,)


def test_infilled_spans_leave_one_mask_each_and_an_exact_share():
    masks, beside, first, last = [], 0, False, False
    for seed in range(80):
        filled = text.infill_spans(ROW, (seed, 2), mask=4, rate=0.3).numpy().tolist()
        kept = [token for token in filled if token != 4]
        assert len(kept) == 14
        assert kept == sorted(kept)
        assert set(kept) < set(ROW)
        masks.append(filled.count(4))
        beside += any(a + 1 == c and b == 4 for a, b, c in zip(filled, filled[1:], filled[2:], strict=False))
        first, last = first or filled[0] == 4, last or filled[-1] == 4
    assert 2 < np.mean(masks) < 4  # six tokens in spans of three, some cut and some empty
    assert beside > 0  # a span of length 0
    assert first
    assert last
    assert text.infill_spans(ROW, (0, 0), mask=4, rate=0.0).numpy().tolist() == ROW
    assert set(text.infill_spans(ROW, (0, 0), mask=4, rate=1.0).numpy()) == {4}


def test_sentences_stay_whole():
    row, orders = [5, 6, 1, 7, 1, 8, 9, 2, 3], set()
    for seed in range(60):
        given = text.permute_sentences(row, (seed, 0), ends=[1, 2]).numpy().tolist()
        rest, order = "".join(map(str, given)), []
        for number, sentence in enumerate(("561", "71", "892", "3")):
            assert sentence in rest
            order.append((rest.index(sentence), number))
        assert sorted(given) == sorted(row)
        orders.add(tuple(number for _, number in sorted(order)))
    assert len(orders) > 12


def test_pairs_are_padded_shifted_and_equal_for_equal_seeds():
    rows = [[5, 6, 7, 8, 9], [5], ROW]
    given = list(
        text.denoising_pairs(rows, lambda t, s: text.mask_tokens(t, s, mask=4, rate=0.4), length=7, target_length=6)
    )
    (x, y), (_, short), (cut, long) = given
    assert sorted(x["source"].numpy().tolist())[0:3] == [0, 3, 4]
    assert x["source"].numpy()[5:].tolist() == [3, 0]
    assert (x["target"].numpy().tolist(), y.numpy().tolist()) == ([2, 5, 6, 7, 8, 9], [5, 6, 7, 8, 9, 3])
    assert short.numpy().tolist() == [5, 3, -1, -1, -1, -1]
    assert cut["source"].numpy()[-1] == long.numpy()[-1] == 3

    def spans(seed):
        corrupt = lambda t, s: text.corrupt_spans(t, s, first_sentinel=99, rate=0.3)  # noqa: E731
        data = text.denoising_pairs([ROW] * 4, corrupt, length=24, target_length=12, seed=seed, start=0, end=1)
        return np.concatenate([x["source"].numpy() for x, _ in data])

    np.testing.assert_array_equal(spans(3), spans(3))
    assert (spans(3) != spans(4)).any()
    assert len(set(map(tuple, spans(3).reshape(4, -1)))) > 1


def test_wrong_arguments_are_refused():
    for call, rule in (
        (lambda: text.corrupt_spans([5], (0, 0), first_sentinel=99, rate=1.5), "rate"),
        (lambda: text.corrupt_spans([5], (0, 0), first_sentinel=99, mean_span=0.5), "mean_span"),
        (lambda: text.corrupt_spans([5], (0, 0), first_sentinel=5), "first_sentinel"),
        (lambda: text.corrupt_spans([5], (0, 0), first_sentinel=5, sentinels=1), "sentinels"),
        (lambda: text.corrupt_spans([[5]], (0, 0), first_sentinel=99, sentinels=9), "one row"),
        (lambda: text.mask_tokens([5], (0, 0), mask=-1), "mask"),
        (lambda: text.delete_tokens([5], (0, 0), rate=-0.1), "rate"),
        (lambda: text.infill_spans([5], (0, 0), mask=4, mean_span=0.0), "mean_span"),
        (lambda: text.permute_sentences([5], (0, 0), ends=[]), "ends"),
        (lambda: text.denoising_pairs([], text.delete_tokens, length=3, target_length=3), "rows"),
        (lambda: text.denoising_pairs([[5], []], text.delete_tokens, length=3, target_length=3), "rows"),
        (lambda: text.denoising_pairs([[5]], text.delete_tokens, length=0, target_length=3), "length"),
        (lambda: text.denoising_pairs([[5]], text.delete_tokens, length=3, target_length=3, seed=-1), "seed"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            call()


def test_maps_run_inside_a_graph():
    data = tf.data.Dataset.from_tensor_slices(tf.ragged.constant([ROW, ROW[:3]], dtype=tf.int32)).enumerate()
    given = data.map(lambda i, row: text.infill_spans(row, tf.stack([0, tf.cast(i, tf.int32)]), mask=4))
    assert [row[row != 4].shape[0] for row in given] == [14, 2]
